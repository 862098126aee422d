"""The outbox behind PgBouncer in transaction mode: pools write and commit through it, and prepare nothing on servers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from rmqpool.errors import PoolTimeoutError
from rmqpool.outbox import AsyncOutboxPool, OutboxPool, Tables, Transaction
from rmqpool.outbox.migrations import migrate
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.testing.pgbouncer import PgBouncer
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The name of a database with an outbox and a table of the application's."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.create_database(name)) as connection:
        migrate(connection, Tables())
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY, amount int NOT NULL)")
    return name


@pytest.fixture
def pool(pgbouncer: PgBouncer, database: str) -> Iterator[OutboxPool]:
    """More clients than PgBouncer has server connections."""
    with OutboxPool(pgbouncer.database_url(database), max_size=8, pgbouncer=True, check_after=0.0) as opened:
        yield opened


def test_each_statement_of_a_relay_has_its_deadline(pgbouncer: PgBouncer, database: str) -> None:
    """Settings of a session are not to be had there: they hold for the statement, and for nobody who comes after it."""
    url = pgbouncer.database_url(database)
    settings = {"statement_timeout": "300ms", "lock_timeout": "200ms", "synchronous_commit": "off"}
    relay = RelayConnection(url, "relay", autocommit=True, settings=settings, each_time=True)
    with closing(relay), psycopg.connect(url, autocommit=True, prepare_threshold=None) as other:
        for setting, value in settings.items():
            assert relay.value(f"SHOW {setting}".encode()) == value
            assert other.execute(f"SHOW {setting}".encode()).fetchone() != (value,)
        with pytest.raises(psycopg.errors.QueryCanceled):
            relay.execute(b"SELECT pg_sleep(30)")
        assert relay.execute(b"INSERT INTO orders VALUES (%s, 1)", [7]).rowcount == 1  # and it goes on
        with other.transaction():
            other.execute("LOCK TABLE orders")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                relay.execute(b"DELETE FROM orders WHERE id = %s", [7])
        assert other.execute("SELECT id FROM orders").fetchall() == [(7,)]


def write(transaction: Transaction, number: int) -> None:
    transaction.execute("INSERT INTO orders VALUES (%s, 1)", [number])
    transaction.publish("orders", {"id": number}, key=str(number))


def counts(postgres: PostgresServer, database: str) -> str:
    """Rows of the application and of the outbox, read past PgBouncer."""
    sql = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM rmqpool_outbox)"
    return postgres.psql(sql, database=database)


def test_rows_and_messages_are_committed_together_or_not_at_all(
    pool: OutboxPool, postgres: PostgresServer, database: str
) -> None:
    """A commit, and a rollback."""

    def fail() -> None:
        with pool.transaction() as transaction:
            write(transaction, 2)
            raise ValueError

    with pool.transaction() as transaction:
        write(transaction, 1)
    with pytest.raises(ValueError):
        fail()
    assert counts(postgres, database) == "1|1"


def test_many_messages_are_one_statement_many_times(pool: OutboxPool, postgres: PostgresServer, database: str) -> None:
    """Often enough for psycopg to prepare the statement, if it were let."""
    for _ in range(10):
        with pool.transaction() as transaction:
            transaction.publish_many("orders", range(50))
    assert counts(postgres, database) == "0|500"


def test_threads_that_share_few_server_connections_prepare_nothing(
    pool: OutboxPool, postgres: PostgresServer, database: str
) -> None:
    """Eight clients on three servers: a statement prepared by one of them would be unknown, or known twice, to others."""
    prepared: list[int] = []
    together = threading.Barrier(8)

    def work(thread: int) -> None:
        together.wait(10)
        for number in range(20):
            with pool.transaction(timeout=20) as transaction:
                write(transaction, 100 * thread + number)
                row = transaction.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
                assert row is not None
                prepared.append(row[0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert prepared == [0] * 160
    assert counts(postgres, database) == "160|160"


def test_a_level_of_isolation_stays_in_its_own_transactions(pgbouncer: PgBouncer, database: str) -> None:
    """It is said in BEGIN, and is not left behind in a session that the next client gets."""
    url = pgbouncer.database_url(database)
    strict = psycopg.IsolationLevel.SERIALIZABLE
    sql = "SELECT current_setting('transaction_isolation'), pg_backend_pid()"
    with (
        OutboxPool(url, pgbouncer=True, isolation_level=strict) as one,
        OutboxPool(url, pgbouncer=True, max_size=1) as other,
    ):
        with one.transaction() as transaction:
            level, server = transaction.execute(sql).fetchone() or ("", 0)
        with other.transaction() as transaction:
            assert transaction.execute(sql).fetchone() == ("read committed", server)
    assert level == "serializable"


def test_the_servers_own_restart_is_survived(
    pool: OutboxPool, postgres: PostgresServer, pgbouncer: PgBouncer, database: str
) -> None:
    """PgBouncer stays, its connections to the server do not: the next transactions get new ones."""
    with pool.transaction() as transaction:
        write(transaction, 1)
    postgres.restart("immediate")

    def written() -> bool:
        try:
            pool.run(write, 2)
        except (psycopg.OperationalError, PoolTimeoutError):
            return False
        return True

    wait_until(written, "a transaction through PgBouncer", timeout=20)
    assert counts(postgres, database) == "2|2"


def test_pgbouncers_own_restart_is_survived(
    pool: OutboxPool, pgbouncer: PgBouncer, postgres: PostgresServer, database: str
) -> None:
    """The pool's connections were all lost; they are looked at before use."""
    with pool.transaction() as transaction:
        write(transaction, 1)
    pgbouncer.kill()
    pgbouncer.start()
    with pool.transaction(timeout=20) as transaction:
        write(transaction, 2)
    assert counts(postgres, database) == "2|2"


async def test_the_asynchronous_pool_works_through_it_too(
    pgbouncer: PgBouncer, postgres: PostgresServer, database: str
) -> None:
    """Rows, messages, many messages."""
    async with AsyncOutboxPool(pgbouncer.database_url(database), max_size=4, pgbouncer=True) as pool:
        for number in range(10):
            async with pool.transaction() as transaction:
                await transaction.execute("INSERT INTO orders VALUES (%s, 1)", [number])
                await transaction.publish_many("orders", [1, 2, 3])
    assert counts(postgres, database) == "10|30"
