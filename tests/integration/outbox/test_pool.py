"""OutboxPool's promises: committed or rolled back, always returned, one deadline, and another attempt only when it is safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import psycopg_pool
import pytest

from rmqpool import (
    CommitUnknownError,
    ConfigurationError,
    NotInTransactionError,
    PoolClosedError,
    PoolTimeoutError,
    TooManyWaitingError,
)
from rmqpool.outbox import OutboxPool, Transaction
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., OutboxPool]
UNANSWERED = """
CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION leave();
"""  # the server ends the connection in the middle of the COMMIT


@pytest.fixture
def database(postgres: PostgresServer, outbox_url: str) -> str:
    """A database with an outbox and a table of the application's."""
    with psycopg.connect(outbox_url) as connection:
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY, amount int NOT NULL)")
    return outbox_url


@pytest.fixture
def make_pool(database: str) -> Iterator[MakePool]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(OutboxPool(database, **options))


@pytest.fixture
def pool(make_pool: MakePool) -> OutboxPool:
    return make_pool(max_size=2)


@pytest.fixture
def nobodys_port() -> Iterator[int]:
    """A port on which nobody listens."""
    port = ReservedPort()
    yield port.number
    port.release()


def counts(pool: OutboxPool) -> tuple[int, int]:
    """Rows of the application, and of the outbox."""
    with pool.transaction() as transaction:
        found = transaction.execute(
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM rmqpool_outbox)"
        ).fetchone()
    assert found is not None
    return found


def write(transaction: Transaction, number: int = 1) -> None:
    transaction.execute("INSERT INTO orders VALUES (%s, 1)", [number])
    transaction.publish("orders", {"id": number}, key=str(number))


def test_rows_and_messages_are_committed_together(pool: OutboxPool) -> None:
    """At the end of the block, and not before."""
    with pool.transaction() as transaction:
        write(transaction)
        assert counts(pool) == (0, 0)
    assert counts(pool) == (1, 1)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_whatever_the_block_raises_rolls_both_back(pool: OutboxPool, error: type[BaseException]) -> None:
    """And comes through; the connection is back."""

    def fail() -> None:
        with pool.transaction() as transaction:
            write(transaction)
            raise error

    with pytest.raises(error):
        fail()
    assert counts(pool) == (0, 0)
    wait_until(lambda: pool.stats().idle == pool.stats().size, "both connections to be back", timeout=5)


def test_a_statement_that_fails_rolls_back(pool: OutboxPool) -> None:
    """psycopg's own error, as it is."""

    def fail() -> None:
        with pool.transaction() as transaction:
            write(transaction)
            write(transaction)

    with pytest.raises(psycopg.errors.UniqueViolation):
        fail()
    assert counts(pool) == (0, 0)


def test_a_transaction_that_is_over_is_dead(pool: OutboxPool) -> None:
    """Its connection may be somebody else's."""
    with pool.transaction() as transaction:
        pass
    for use in (
        lambda: transaction.execute("SELECT 1"),
        lambda: transaction.publish("q", 1),
        lambda: transaction.connection,
    ):
        with pytest.raises(NotInTransactionError, match="is over"):
            use()


def test_many_messages_are_one_statement(pool: OutboxPool) -> None:
    """publish_many and publish_to write into the same transaction."""
    with pool.transaction() as transaction:
        assert len(set(transaction.publish_many("orders", range(100)))) == 100
        transaction.publish_to("events", "order.created", {"id": 1})
    assert counts(pool) == (0, 101)


def test_a_connection_that_is_lost_in_the_block_is_replaced(make_pool: MakePool, postgres: PostgresServer) -> None:
    """The block gets psycopg's error, nothing is committed, the next transaction works."""
    pool = make_pool(max_size=2, check_after=0.0)

    def fail() -> None:
        with pool.transaction() as transaction:
            write(transaction)
            postgres.terminate_backends()
            transaction.execute("SELECT 1")

    with pytest.raises(psycopg.OperationalError):
        fail()
    assert counts(pool) == (0, 0)


def test_a_commit_without_an_answer_is_told_as_unknown(pool: OutboxPool) -> None:
    """Neither committed nor rolled back is claimed, and it is not done again by itself."""
    with pool.transaction() as transaction:
        transaction.execute(UNANSWERED)
    calls: list[int] = []

    def once(transaction: Transaction) -> None:
        calls.append(1)
        write(transaction)

    with pytest.raises(CommitUnknownError, match="nobody knows"):
        pool.run(once)
    assert len(calls) == 1
    assert pool.stats().unknown == 1


def test_a_connection_that_was_idle_for_long_is_looked_at_first(make_pool: MakePool, postgres: PostgresServer) -> None:
    """The server may have ended it meanwhile."""
    pool = make_pool(check_after=0.0)
    assert counts(pool) == (0, 0)
    postgres.terminate_backends()
    assert counts(pool) == (0, 0)


def test_the_server_restarts_between_transactions(make_pool: MakePool, postgres: PostgresServer) -> None:
    """The pool connects again by itself."""
    pool = make_pool(check_after=0.0)
    assert counts(pool) == (0, 0)
    postgres.restart()
    assert counts(pool) == (0, 0)


def test_waiting_ends_at_its_deadline_with_the_numbers(make_pool: MakePool) -> None:
    """All connections are in use."""
    pool = make_pool(max_size=1)
    with pool.transaction(), pytest.raises(PoolTimeoutError, match="1 of 1 connections, 0 idle"), pool.transaction(0.1):
        pass


def test_a_server_that_is_down_is_a_clear_error_at_the_deadline(nobodys_port: int) -> None:
    """No traceback of libpq's, and no password."""
    with OutboxPool(f"postgresql://u:secret-word@127.0.0.1:{nobodys_port}/d") as pool:
        with pytest.raises(PoolTimeoutError, match="is the server up") as caught, pool.transaction(0.3):
            pass
        assert "secret-word" not in f"{caught.value!r} {pool!r} {pool.stats()}"


def test_as_many_wait_as_may(make_pool: MakePool) -> None:
    """The next one is refused at once."""
    pool = make_pool(max_size=1, max_waiting=1)
    with pool.transaction():
        waiting = threading.Thread(target=lambda: counts(pool))
        waiting.start()
        wait_until(lambda: pool.stats().waiting, "the first one to wait", timeout=5)
        with pytest.raises(TooManyWaitingError), pool.transaction():
            pass
    waiting.join(10)


def test_a_serialization_failure_is_tried_again(make_pool: MakePool) -> None:
    """40001: the function runs again in a transaction of its own."""
    pool = make_pool(isolation_level=psycopg.IsolationLevel.REPEATABLE_READ)
    with pool.transaction() as transaction:
        write(transaction)
    attempts: list[int] = []

    def add(transaction: Transaction) -> int:
        attempts.append(1)
        row = transaction.execute("SELECT amount FROM orders WHERE id = 1").fetchone()
        assert row is not None
        if len(attempts) == 1:  # somebody else is faster
            pool.run(lambda other: other.execute("UPDATE orders SET amount = amount + 10"))
        transaction.execute("UPDATE orders SET amount = %s", [row[0] + 1])
        return int(row[0]) + 1

    assert pool.run(add) == 12
    assert len(attempts) == 2


def test_a_deadlock_is_tried_again(pool: OutboxPool) -> None:
    """40P01: one of the two is chosen by Postgres, and both get through."""
    with pool.transaction() as transaction:
        write(transaction, 1)
        write(transaction, 2)
    both = threading.Barrier(2)
    attempts: list[int] = []

    def cross(transaction: Transaction, first: int, second: int) -> None:
        attempts.append(first)
        transaction.execute("UPDATE orders SET amount = amount + 1 WHERE id = %s", [first])
        if len(attempts) <= 2:
            both.wait(10)
        transaction.execute("UPDATE orders SET amount = amount + 1 WHERE id = %s", [second])

    threads = [threading.Thread(target=pool.run, args=(cross, *order)) for order in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with pool.transaction() as transaction:
        assert transaction.execute("SELECT amount FROM orders").fetchall() == [(3,), (3,)]
    assert len(attempts) == 3


def test_attempts_end(pool: OutboxPool) -> None:
    """The last error comes as it is."""
    attempts: list[int] = []

    def fail(_: Transaction) -> None:
        attempts.append(1)
        raise psycopg.errors.SerializationFailure("again")

    with pytest.raises(psycopg.errors.SerializationFailure):
        pool.retrying(attempts=3, deadline=5)(fail)
    assert len(attempts) == 3


def test_other_errors_are_not_tried_again(pool: OutboxPool) -> None:
    """They would be the same."""
    attempts: list[int] = []

    def fail(_: Transaction) -> None:
        attempts.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        pool.run(fail)
    assert len(attempts) == 1


def test_twenty_threads_share_two_connections(pool: OutboxPool) -> None:
    """Each waits for its turn."""

    def work(number: int) -> None:
        with pool.transaction() as transaction:
            write(transaction, number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counts(pool) == (20, 20)
    assert pool.stats().size <= 2


def test_the_applications_own_pool_stays_its_own(database: str) -> None:
    """It is used, and neither opened nor closed."""
    with psycopg_pool.ConnectionPool(database, min_size=1, open=True) as own:
        with OutboxPool.of(own) as pool, pool.transaction() as transaction:
            write(transaction)
        with own.connection() as connection:
            assert connection.execute("SELECT count(*) FROM rmqpool_outbox").fetchone() == (1,)


def test_closing_lets_what_is_open_end(make_pool: MakePool) -> None:
    """It can still be committed; nothing new begins."""
    pool = make_pool()
    with pool.transaction() as transaction:
        write(transaction)
        pool.close(timeout=0.1)
        with pytest.raises(PoolClosedError), pool.transaction():
            pass
    with pytest.raises(PoolClosedError), pool.transaction():
        pass


def test_a_url_that_cannot_be_read_is_told_without_its_password() -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigurationError) as caught:
        OutboxPool("postgresql://u:pass/word@h/d")
    assert "word" not in str(caught.value).replace("password", "")


def test_its_figures_are_told(pool: OutboxPool) -> None:
    """Sizes, requests, and who waits."""
    counts(pool)
    stats = pool.stats()
    assert (stats.min_size, stats.max_size, stats.waiting) == (1, 2, 0)
    assert stats.requests >= 1
    assert "of 2 connections" in repr(pool)


def test_open_fails_within_its_time_when_nothing_answers(nobodys_port: int) -> None:
    """At the start of a service, not at its first request."""
    with pytest.raises(PoolTimeoutError, match=r"within 0\.3 s"):
        OutboxPool(f"postgresql://u@127.0.0.1:{nobodys_port}/d").open(timeout=0.3)
