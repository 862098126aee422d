"""What OutboxPool makes of connections that die, servers that freeze, errors that are hidden, and forks."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import psycopg_pool
import pytest

from rmqpool import ConfigurationError, ConnectionLostError, NotInTransactionError, PoolClosedError, PoolTimeoutError
from rmqpool.outbox import OutboxPool, Transaction
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., OutboxPool]


@pytest.fixture
def database(postgres: PostgresServer, outbox_url: str) -> str:
    """A database with an outbox and a table of the application's."""
    with psycopg.connect(outbox_url) as connection:
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return outbox_url


@pytest.fixture
def make_pool(database: str) -> Iterator[MakePool]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(OutboxPool(database, **options))


def counts(pool: OutboxPool) -> tuple[int, int]:
    """Rows of the application, and of the outbox."""
    with pool.transaction() as transaction:
        found = transaction.execute(
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM rmqpool_outbox)"
        ).fetchone()
    assert found is not None
    return found


def write(transaction: Transaction, number: int = 1) -> None:
    transaction.execute("INSERT INTO orders VALUES (%s)", [number])
    transaction.publish("orders", {"id": number}, key=str(number))


def backend(transaction: Transaction) -> int:
    """The server's process for this connection."""
    return transaction.connection.info.backend_pid


def terminate(postgres: PostgresServer, process: int) -> None:
    """End a connection on the server, and wait for it."""
    postgres.psql(f"SELECT pg_terminate_backend({process})")
    alive = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {process}"
    wait_until(lambda: postgres.psql(alive) == "0", "the backend to end", timeout=60)


def ended(child: int) -> tuple[int, int] | None:
    """The child's id and status, once it has ended."""
    found = os.waitpid(child, os.WNOHANG)
    return found if found[0] else None


def test_a_hidden_error_is_no_commit(make_pool: MakePool) -> None:
    """Postgres answers the COMMIT of a failed transaction with a rollback: without this nobody would notice."""
    pool = make_pool()

    def hide() -> None:
        with pool.transaction() as transaction:
            write(transaction)
            with pytest.raises(psycopg.errors.DivisionByZero):
                transaction.execute("SELECT 1 / 0")

    with pytest.raises(NotInTransactionError, match="nothing was committed"):
        hide()
    assert counts(pool) == (0, 0)
    assert pool.stats().rolled_back == 1


def test_an_error_in_a_savepoint_may_be_hidden(make_pool: MakePool) -> None:
    """As the message of the test above says."""
    pool = make_pool()
    with pool.transaction() as transaction:
        write(transaction)
        with pytest.raises(psycopg.errors.DivisionByZero), transaction.connection.transaction():
            transaction.execute("SELECT 1 / 0")
    assert counts(pool) == (1, 1)


def test_a_connection_lost_before_the_commit_is_a_rollback_and_is_run_again(
    make_pool: MakePool, postgres: PostgresServer
) -> None:
    """The server's farewell has arrived, so that the COMMIT is not even sent."""
    pool = make_pool()
    calls: list[int] = []

    def lose_once(transaction: Transaction) -> None:
        calls.append(1)
        write(transaction)
        if len(calls) == 1:
            terminate(postgres, backend(transaction))

    with pytest.raises(ConnectionLostError, match="before the COMMIT"), pool.transaction() as transaction:
        lose_once(transaction)
    assert counts(pool) == (0, 0)
    calls.clear()
    pool.run(lose_once)
    assert len(calls) == 2
    assert counts(pool) == (1, 1)


def test_dead_connections_cost_nobody_a_pause(make_pool: MakePool, postgres: PostgresServer) -> None:
    """Four of them, not idle for long: none is handed out, and no backoff is waited for."""
    pool = make_pool(min_size=4, max_size=4)
    pool.open()
    wait_until(lambda: pool.stats().idle == 4, "four connections", timeout=60)
    postgres.restart("immediate")
    began = time.monotonic()
    assert counts(pool) == (0, 0)
    assert time.monotonic() - began < 1
    assert pool.stats().found_lost >= 1


def test_a_frozen_server_does_not_outlast_the_deadline(make_pool: MakePool, postgres: PostgresServer) -> None:
    """Its socket is open, and nothing answers the question."""
    pool = make_pool(max_size=1, check_after=0.0)
    assert counts(pool) == (0, 0)
    postgres.pause()
    began = time.monotonic()
    with pytest.raises(PoolTimeoutError, match="within 1 s"), pool.transaction(timeout=1):
        pass
    assert time.monotonic() - began < 2
    postgres.resume()
    assert counts(pool) == (0, 0)


def test_a_server_that_comes_back_is_noticed_soon(make_pool: MakePool, postgres: PostgresServer) -> None:
    """However long it was away: pauses between attempts do not grow beyond two seconds."""
    pool = make_pool(max_size=1)
    assert counts(pool) == (0, 0)
    postgres.stop("immediate")
    for _ in range(4):
        with pytest.raises(PoolTimeoutError, match="refused"), pool.transaction(timeout=1):
            pass
    postgres.start()
    began = time.monotonic()
    assert counts(pool) == (0, 0)
    assert time.monotonic() - began < 4


def test_a_refused_password_is_told_and_not_shown(database: str) -> None:
    """What the last attempt said is part of the error; the pool goes on trying until it is closed."""
    pool = OutboxPool(database.replace("@", "wrong@", 1))
    with pytest.raises(PoolTimeoutError, match="password authentication failed"):
        pool.open(timeout=0.5)
    assert pool.close()


def test_manners_of_one_transaction_are_not_the_nexts(make_pool: MakePool) -> None:
    """Read-only, level of isolation, autocommit, row factory: all live in psycopg's connection, which is shared."""
    pool = make_pool(max_size=1)
    with pool.transaction() as transaction:
        transaction.connection.read_only = True
        transaction.connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        transaction.connection.row_factory = psycopg.rows.dict_row
    with pool.transaction() as transaction:
        write(transaction)
        assert transaction.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


def test_an_applications_pool_in_autocommit_gives_transactions(database: str) -> None:
    """Rows and messages belong together there, too; the pool has its own manners back afterwards."""
    with psycopg_pool.ConnectionPool(database, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True) as own:
        pool = OutboxPool.of(own)

        def fail() -> None:
            with pool.transaction() as transaction:
                write(transaction)
                raise ValueError

        with pytest.raises(ValueError):
            fail()
        assert counts(pool) == (0, 0)
        with own.connection() as connection:
            assert connection.autocommit


def test_closing_waits_for_open_transactions(make_pool: MakePool) -> None:
    """And says whether all of them ended in time."""
    pool = make_pool()
    go_on, began = threading.Event(), threading.Event()

    def work() -> None:
        with pool.transaction() as transaction:
            write(transaction)
            began.set()
            go_on.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(10)
    assert not pool.close(timeout=0.1)
    go_on.set()
    assert pool.close(timeout=10)
    thread.join(10)
    with pytest.raises(PoolClosedError):
        pool.run(write)
    assert pool.stats().committed == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12: that is what is tested here
def test_a_forked_child_gets_connections_of_its_own(make_pool: MakePool) -> None:
    """The parent's open transaction is none of the child's, and both go on."""
    pool = make_pool(max_size=2)

    def work() -> None:
        for use in (lambda: transaction.execute("SELECT 1"), lambda: transaction.publish("orders", 1)):
            with pytest.raises(NotInTransactionError, match="forked"):
                use()
        with pool.transaction(timeout=5) as own:
            assert backend(own) != parents
            write(own, 2)
        assert pool.close()

    with pool.transaction() as transaction:
        write(transaction, 1)
        parents = backend(transaction)
        child = os.fork()
        if not child:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = wait_until(lambda: ended(child), "the child's end", timeout=60)
    assert os.waitstatus_to_exitcode(status) == 0
    assert counts(pool) == (2, 2)


@pytest.mark.parametrize(
    "wrong", [{"min_size": -1}, {"max_size": 0}, {"min_size": 3, "max_size": 2}, {"timeout": 0.0}, {"max_idle": -1.0}]
)
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong)) if len(wrong) == 1 else "max_size"):
        OutboxPool("postgresql://u@127.0.0.1/d", **wrong)  # type: ignore[arg-type]
