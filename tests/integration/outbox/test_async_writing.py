"""What is particular to connections that are awaited; what all promise is in test_writing.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from rmqpool.outbox import AsyncOutbox, Outbox

Observer = psycopg.Connection[Any]


def committed(observer: Observer) -> list[tuple[Any, ...]]:
    """Headers and bodies that are committed."""
    return observer.execute(b"SELECT headers, body FROM rmqpool_outbox ORDER BY id").fetchall()


async def test_codecs_of_the_application_are_not_applied(database: str, observer: Observer) -> None:
    """A codec that makes JSON of what it is given would make a text of our headers: it is not asked."""
    connection = await asyncpg.connect(database)
    try:
        for name in ("json", "jsonb"):
            await connection.set_type_codec(name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        await connection.set_type_codec("uuid", schema="pg_catalog", encoder=repr, decoder=str)
        async with connection.transaction():
            await AsyncOutbox().publish(connection, "orders", 1, headers={"x": 1})
    finally:
        await connection.close()
    assert committed(observer) == [({"x": 1}, b"1")]


async def test_statements_that_are_not_prepared_will_do(database: str, observer: Observer) -> None:
    """Behind an old PgBouncer asyncpg keeps no statements: twice the same works."""
    connection = await asyncpg.connect(database, statement_cache_size=0)
    try:
        for number in range(2):
            async with connection.transaction():
                await AsyncOutbox().publish_many(connection, "orders", [number] * 2)
    finally:
        await connection.close()
    assert [body for _, body in committed(observer)] == [b"0", b"0", b"1", b"1"]


async def test_a_cancelled_task_writes_nothing(database: str, observer: Observer) -> None:
    """A task that is cancelled while its statement waits rolls back; the connection is of use afterwards."""
    outbox = AsyncOutbox()
    waiting = b"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rmqpool_outbox'::regclass"
    async with (
        await psycopg.AsyncConnection.connect(database) as locker,
        await psycopg.AsyncConnection.connect(database) as writer,
    ):
        await locker.execute("LOCK TABLE rmqpool_outbox IN ACCESS EXCLUSIVE MODE")

        async def write() -> None:
            async with writer.transaction():
                await outbox.publish(writer, "orders", 1)

        task = asyncio.create_task(write())
        async with asyncio.timeout(5):
            while observer.execute(waiting).fetchone() == (0,):
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await locker.rollback()
        async with writer.transaction():
            await outbox.publish(writer, "orders", 2)
    assert [body for _, body in committed(observer)] == [b"2"]


@pytest.mark.parametrize("library", ["asyncpg", "psycopg"])
async def test_a_blocking_outbox_writes_within_run_sync(database: str, observer: Observer, library: str) -> None:
    """Code that blocks, run by ``run_sync``, uses Outbox with the session that it is given."""
    engine = create_async_engine(database.replace("postgresql:", f"postgresql+{library}:"), poolclass=NullPool)

    def place_order(session: Any) -> None:
        Outbox().publish(session, "orders", 1)

    async with AsyncSession(engine) as session, session.begin():
        await session.run_sync(place_order)
    await engine.dispose()
    assert [body for _, body in committed(observer)] == [b"1"]


async def test_one_outbox_serves_many_tasks(database: str, observer: Observer) -> None:
    """Tasks with a connection each share an outbox: every row is there once."""
    outbox = AsyncOutbox()

    async def write(number: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await outbox.publish(connection, "orders", number)

    async with asyncpg.create_pool(database, min_size=1, max_size=5) as pool:
        await asyncio.gather(*(write(number) for number in range(50)))
    assert sorted(int(body) for _, body in committed(observer)) == list(range(50))
