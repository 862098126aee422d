"""What users write with transactions: their connection is their pool's. `make check` has mypy read it, and nothing runs it."""

from typing import Any, assert_type

import asyncpg
import psycopg
import psycopg_pool
import sqlalchemy
from django.db import connections
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from rmqpool import Worker
from rmqpool.outbox import AsyncOutboxPool, AsyncTransaction, Inbox, OutboxPool, Transaction

DATABASE = "postgresql://shop@127.0.0.1/shop"


def from_a_url() -> None:
    """psycopg's, and so is the cursor."""
    pool = OutboxPool(DATABASE)
    with pool.transaction() as transaction:
        assert_type(transaction, Transaction)
        assert_type(transaction.connection, psycopg.Connection[Any])
        assert_type(transaction.execute("SELECT 1"), psycopg.Cursor[Any])


def from_psycopgs_pool() -> None:
    """With rows as that pool's connections have them."""
    pool: psycopg_pool.ConnectionPool[psycopg.Connection[dict[str, Any]]] = psycopg_pool.ConnectionPool(DATABASE)
    with OutboxPool.of(pool).transaction() as transaction:
        assert_type(transaction.connection, psycopg.Connection[dict[str, Any]])


def count(transaction: Transaction[sqlalchemy.Connection], least: int) -> int:
    """What runs in a transaction of SQLAlchemy's."""
    return len(transaction.connection.execute(sqlalchemy.text("SELECT 1")).all()) + least


def from_an_engine() -> None:
    """SQLAlchemy's Connection."""
    pool = OutboxPool.of(sqlalchemy.create_engine(DATABASE))
    with pool as entered, entered.transaction() as transaction:
        assert_type(transaction.connection, sqlalchemy.Connection)
        transaction.connection.execute("SELECT 1")  # type: ignore[call-overload]
    assert_type(pool.run(count, 3), int)
    OutboxPool(DATABASE).run(count, 3)  # type: ignore[arg-type]


def from_django() -> None:
    """Django tells no types."""
    with OutboxPool.of(connections["shop"]).transaction() as transaction:
        assert_type(transaction.connection, Any)
    OutboxPool.of(17)  # type: ignore[call-overload]


async def awaited() -> None:
    """The same, awaited."""
    async with AsyncOutboxPool(DATABASE).transaction() as plain:
        assert_type(plain, AsyncTransaction)
        assert_type(plain.connection, psycopg.AsyncConnection[Any])
        assert_type(await plain.execute("SELECT 1"), psycopg.AsyncCursor[Any])
    async with AsyncOutboxPool.of(create_async_engine(DATABASE)).transaction() as transaction:
        assert_type(transaction.connection, AsyncConnection)
    pool = psycopg_pool.AsyncConnectionPool(DATABASE)
    async with AsyncOutboxPool.of(pool).transaction() as of_a_pool:
        assert_type(await of_a_pool.execute("SELECT 1"), psycopg.AsyncCursor[Any])
    async with AsyncOutboxPool.of(await asyncpg.create_pool(DATABASE)).transaction() as of_asyncpg:
        assert_type(of_asyncpg.connection, Any)
    AsyncOutboxPool.of(sqlalchemy.create_engine(DATABASE))  # type: ignore[call-overload]


worker = Worker("typed")


@worker.consumer("orders", inbox=Inbox(sqlalchemy.create_engine(DATABASE)))
def store(order: dict[str, Any], transaction: Transaction[sqlalchemy.Connection]) -> None:
    """A handler says which library's connection its transaction has."""
    assert_type(transaction.connection, sqlalchemy.Connection)
    transaction.publish("parcels", order)


def take(connection: psycopg.Connection[Any]) -> None:
    """What a handler without a word gives on is psycopg's."""


@worker.consumer("parcels", inbox=Inbox(DATABASE))
def pack(parcel: dict[str, Any], transaction: Transaction) -> None:
    """As it always was."""
    take(transaction.connection)
