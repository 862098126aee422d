"""What AsyncOutboxPool makes of connections that die, servers that freeze, errors that are hidden, and cancellations."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import psycopg
import psycopg_pool
import pytest

from rmqpool import ConnectionLostError, NotInTransactionError, PoolClosedError, PoolTimeoutError
from rmqpool.outbox import AsyncOutboxPool, AsyncTransaction
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until


@pytest.fixture
def database(postgres: PostgresServer, outbox_url: str) -> str:
    """A database with an outbox and a table of the application's."""
    with psycopg.connect(outbox_url) as connection:
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return outbox_url


@pytest.fixture
async def pool(database: str) -> AsyncIterator[AsyncOutboxPool]:
    async with AsyncOutboxPool(database, max_size=3) as one:
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
    await transaction.execute("INSERT INTO orders VALUES (%s)", [number])
    await transaction.publish("orders", {"id": number}, key=str(number))


def terminate(postgres: PostgresServer, process: int) -> None:
    """End a connection on the server, and wait for it."""
    postgres.psql(f"SELECT pg_terminate_backend({process})")
    alive = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {process}"
    wait_until(lambda: postgres.psql(alive) == "0", "the backend to end", timeout=5)


async def test_a_hidden_error_is_no_commit(pool: AsyncOutboxPool) -> None:
    """Postgres answers the COMMIT of a failed transaction with a rollback: without this nobody would notice."""

    async def hide() -> None:
        async with pool.transaction() as transaction:
            await write(transaction)
            with pytest.raises(psycopg.errors.DivisionByZero):
                await transaction.execute("SELECT 1 / 0")

    with pytest.raises(NotInTransactionError, match="nothing was committed"):
        await hide()
    assert await counts(pool) == (0, 0)


async def test_a_connection_lost_before_the_commit_is_a_rollback_and_is_run_again(
    pool: AsyncOutboxPool, postgres: PostgresServer
) -> None:
    """The server's farewell has arrived, so that the COMMIT is not even sent."""
    calls: list[int] = []

    async def lose_once(transaction: AsyncTransaction) -> None:
        calls.append(1)
        await write(transaction)
        if len(calls) == 1:
            await asyncio.to_thread(terminate, postgres, transaction.connection.info.backend_pid)

    async def once() -> None:
        async with pool.transaction() as transaction:
            await lose_once(transaction)

    with pytest.raises(ConnectionLostError, match="before the COMMIT"):
        await once()
    assert await counts(pool) == (0, 0)
    calls.clear()
    await pool.run(lose_once)
    assert len(calls) == 2
    assert await counts(pool) == (1, 1)


async def test_dead_connections_cost_nobody_a_pause(database: str, postgres: PostgresServer) -> None:
    """Four of them, not idle for long: none is handed out, and no backoff is waited for."""
    async with AsyncOutboxPool(database, min_size=4, max_size=4) as pool:
        async with asyncio.timeout(5):
            while pool.stats().idle < 4:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres.restart, "immediate")
        began = time.monotonic()
        assert await counts(pool) == (0, 0)
        assert time.monotonic() - began < 1


async def test_a_frozen_server_does_not_outlast_the_deadline(database: str, postgres: PostgresServer) -> None:
    """Its socket is open, and nothing answers the question."""

    async def use(seconds: float) -> None:
        async with pool.transaction(seconds):
            pass

    async with AsyncOutboxPool(database, max_size=1, check_after=0.0) as pool:
        await use(10)
        postgres.pause()
        began = time.monotonic()
        with pytest.raises(PoolTimeoutError, match="within 1 s"):
            await use(1)
        assert time.monotonic() - began < 2
        postgres.resume()
        await use(10)


async def test_a_storm_of_cancellations_loses_no_connection(pool: AsyncOutboxPool) -> None:
    """Each task is cancelled twice, anywhere: while it waits, in a statement, in its commit, on the way back."""

    async def work() -> None:
        async with pool.transaction() as transaction:
            await transaction.execute("SELECT pg_sleep(0.001)")

    chance = random.Random(7)
    for _ in range(60):
        tasks = [asyncio.create_task(work()) for _ in range(6)]
        for longest in (0.008, 0.002):
            await asyncio.sleep(chance.random() * longest)  # anywhere is what is tested
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(10), pool.transaction(), pool.transaction(), pool.transaction():
        assert pool.stats().leased == 3
    assert pool.stats().leased == 0


async def test_an_applications_pool_in_autocommit_gives_transactions(database: str) -> None:
    """Rows and messages belong together there, too; the pool has its own manners back afterwards."""
    options = {"autocommit": True}
    async with psycopg_pool.AsyncConnectionPool(database, kwargs=options, min_size=1, max_size=1, open=False) as own:
        pool = AsyncOutboxPool.of(own)

        async def fail() -> None:
            async with pool.transaction() as transaction:
                await write(transaction)
                raise ValueError

        with pytest.raises(ValueError):
            await fail()
        assert await counts(pool) == (0, 0)
        async with own.connection() as connection:
            assert connection.autocommit


async def test_closing_waits_for_open_transactions(pool: AsyncOutboxPool) -> None:
    """And says whether all of them ended in time."""
    go_on, began = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with pool.transaction() as transaction:
            await write(transaction)
            began.set()
            await go_on.wait()

    task = asyncio.create_task(work())
    async with asyncio.timeout(10):
        await began.wait()
        assert not await pool.close(timeout=0.1)
        go_on.set()
        assert await pool.close(timeout=10)
        await task
    with pytest.raises(PoolClosedError):
        await pool.run(write)
