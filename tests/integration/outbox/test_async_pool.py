"""AsyncOutboxPool's promises: those of OutboxPool, and that a cancelled task leaks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import psycopg_pool
import pytest

from rmqpool import CommitUnknownError, NotInTransactionError, PoolTimeoutError
from rmqpool.outbox import AsyncOutboxPool, AsyncTransaction
from rmqpool.testing.postgres import PostgresServer

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
async def pool(database: str) -> AsyncIterator[AsyncOutboxPool]:
    async with AsyncOutboxPool(database, max_size=2, check_after=0.0) as one:
        yield one


async def counts(pool: AsyncOutboxPool) -> tuple[int, int]:
    async with pool.transaction() as transaction:
        cursor = await transaction.execute(
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM rmqpool_outbox)"
        )
        found = await cursor.fetchone()
    assert found is not None
    return found


async def write(transaction: AsyncTransaction, number: int = 1) -> None:
    await transaction.execute("INSERT INTO orders VALUES (%s, 1)", [number])
    await transaction.publish("orders", {"id": number}, key=str(number))


async def test_rows_and_messages_are_committed_together(pool: AsyncOutboxPool) -> None:
    """At the end of the block, and not before."""
    async with pool.transaction() as transaction:
        await write(transaction)
        await transaction.publish_many("orders", [2, 3])
        await transaction.publish_to("events", "order.created", {"id": 1})
        assert await counts(pool) == (0, 0)
    assert await counts(pool) == (1, 4)


async def test_what_the_block_raises_rolls_both_back(pool: AsyncOutboxPool) -> None:
    """And comes through."""

    async def fail() -> None:
        async with pool.transaction() as transaction:
            await write(transaction)
            raise ValueError

    with pytest.raises(ValueError):
        await fail()
    assert await counts(pool) == (0, 0)


async def test_a_cancelled_task_rolls_back_and_gives_its_connection_back(pool: AsyncOutboxPool) -> None:
    """Fifty of them, cancelled wherever they are: waiting, in a statement, in the block."""

    async def work(number: int) -> None:
        async with pool.transaction() as transaction:
            await write(transaction, number)
            await transaction.execute("SELECT pg_sleep(0.05)")
            raise ValueError  # rolled back too

    tasks = [asyncio.create_task(work(number)) for number in range(50)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        for number, task in enumerate(tasks):
            for _ in range(number):
                await asyncio.sleep(0)  # each one gets a bit further
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError | ValueError) for one in ended), ended
        assert sum(isinstance(one, asyncio.CancelledError) for one in ended) >= 10, ended
        async with pool.transaction(), pool.transaction():
            pass  # both connections are there
    assert await counts(pool) == (0, 0)


async def test_a_transaction_that_is_over_is_dead(pool: AsyncOutboxPool) -> None:
    """Its connection may be somebody else's."""
    async with pool.transaction() as transaction:
        pass
    with pytest.raises(NotInTransactionError, match="is over"):
        await transaction.execute("SELECT 1")


async def test_waiting_ends_at_its_deadline(pool: AsyncOutboxPool) -> None:
    """With the numbers."""
    async with pool.transaction(), pool.transaction():
        with pytest.raises(PoolTimeoutError, match="2 of 2 connections"):
            await counts_within(pool, 0.1)


async def counts_within(pool: AsyncOutboxPool, seconds: float) -> None:
    async with pool.transaction(seconds):
        pass


async def test_a_commit_without_an_answer_is_told_as_unknown(pool: AsyncOutboxPool) -> None:
    """And not done again by itself."""
    async with pool.transaction() as transaction:
        await transaction.execute(UNANSWERED)
    calls: list[int] = []

    async def once(transaction: AsyncTransaction) -> None:
        calls.append(1)
        await write(transaction)

    with pytest.raises(CommitUnknownError):
        await pool.run(once)
    assert len(calls) == 1


async def test_a_serialization_failure_is_tried_again(pool: AsyncOutboxPool) -> None:
    """Each time in a transaction of its own."""
    attempts: list[int] = []

    async def flaky(transaction: AsyncTransaction) -> int:
        attempts.append(1)
        await write(transaction)
        if len(attempts) < 3:
            raise psycopg.errors.SerializationFailure("again")
        return len(attempts)

    assert await pool.run(flaky) == 3
    assert await counts(pool) == (1, 1)


async def test_the_server_restarts_between_transactions(pool: AsyncOutboxPool, postgres: PostgresServer) -> None:
    """The pool connects again by itself."""
    assert await counts(pool) == (0, 0)
    await asyncio.to_thread(postgres.restart)
    assert await counts(pool) == (0, 0)


async def test_the_applications_own_pool_stays_its_own(database: str) -> None:
    """It is used, and neither opened nor closed."""
    async with psycopg_pool.AsyncConnectionPool(database, min_size=1, open=False) as own:
        async with AsyncOutboxPool.of(own) as pool, pool.transaction() as transaction:
            await write(transaction)
        async with own.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM rmqpool_outbox")
            assert await cursor.fetchone() == (1,)
