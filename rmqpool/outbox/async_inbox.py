"""AsyncInbox: Inbox for ``async def`` handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

import psycopg
import psycopg_pool

from rmqpool.outbox.adapters.async_transactions import AsyncBorrowedTransaction
from rmqpool.outbox.async_pool import AsyncOutboxPool
from rmqpool.outbox.inbox_parts import Progress, check_inbox, lock_timeout_text, prune_seconds, unavailable
from rmqpool.outbox.inbox_statements import InboxStatements
from rmqpool.outbox.tables import Tables, tables_or_default
from rmqpool.outbox.transaction import AsyncTransaction
from rmqpool.pool_options import whole_number
from rmqpool.secret import Secret

__all__ = ["AsyncInbox"]

Marked = TypeVar("Marked")


class AsyncInbox:
    """As :class:`rmqpool.outbox.Inbox`, with an AsyncOutboxPool, psycopg_pool's AsyncConnectionPool, a SQLAlchemy AsyncEngine
    or an asyncpg Pool.

    A pool of the application's must belong to the worker's event loop; with a URL the inbox makes its own there.
    """

    is_async: Final = True

    def __init__(
        self,
        database: object,
        *,
        consumer: str | None = None,
        tables: Tables | None = None,
        timeout: float = 10.0,
    ) -> None:
        check_inbox(database, consumer, (AsyncOutboxPool, psycopg_pool.AsyncConnectionPool))
        self.consumer = consumer
        self._database = database
        given = database.outbox.tables if tables is None and isinstance(database, AsyncOutboxPool) else tables
        self._tables = tables_or_default(given)
        self._statements = InboxStatements(self._tables)
        self._timeout = timeout
        self._lock_timeout = lock_timeout_text(timeout)
        self._concurrency = 1
        self._users = 0
        self._pool: AsyncOutboxPool[Any] | None = None
        if isinstance(database, str | Secret):
            AsyncOutboxPool(database, tables=self._tables)  # a URL that cannot be read is told here

    def open(self, concurrency: int) -> None:
        """Get ready for so many handlers at once; the pool is made on the event loop, by the first message."""
        self._users += 1
        self._concurrency = max(self._concurrency, concurrency)

    @asynccontextmanager
    async def transaction(self, consumer: str, message_id: str) -> AsyncIterator[AsyncTransaction[Any] | None]:
        """As :meth:`rmqpool.outbox.Inbox.transaction`."""
        async with self._transaction(lambda begun: self._mark(begun, consumer, message_id)) as (transaction, is_new):
            yield transaction if is_new else None

    @asynccontextmanager
    async def transaction_for_many(
        self, consumer: str, message_ids: Sequence[str]
    ) -> AsyncIterator[tuple[AsyncTransaction[Any], set[str]]]:
        """As :meth:`rmqpool.outbox.Inbox.transaction_for_many`."""
        async with self._transaction(lambda begun: self._mark_batch(begun, consumer, message_ids)) as entered:
            yield entered

    @asynccontextmanager
    async def _transaction(
        self, mark: Callable[[AsyncTransaction[Any]], Awaitable[Marked]]
    ) -> AsyncIterator[tuple[AsyncTransaction[Any], Marked]]:
        if self._pool is None:
            self._pool = self._make_pool()
        progress = Progress()
        try:
            async with self._pool.transaction(self._timeout) as transaction:
                marked = await mark(transaction)
                progress.is_handed_out = True
                try:
                    yield transaction, marked
                except Exception as error:
                    if not transaction.is_inherited:
                        progress.raised(error, transaction)
                    raise
        except Exception as error:
            later = unavailable(error, progress, self._tables)
            if later is None:
                raise
            raise later from error

    async def mark_many(
        self, transaction: AsyncTransaction[Any], consumer: str, message_ids: Iterable[str]
    ) -> set[str]:
        """As :meth:`rmqpool.outbox.Inbox.mark_many`."""
        if isinstance(transaction, AsyncBorrowedTransaction):
            rows = await transaction.rows(self._statements.mark_many.decode(), [consumer, list(message_ids)])
            return {message_id for (message_id,) in rows}
        cursor = await transaction.connection.execute(self._statements.mark_many, [consumer, list(message_ids)])
        return {message_id async for (message_id,) in cursor}

    async def prune(self, older_than: float | timedelta, *, chunk: int = 10_000) -> int:
        """As :meth:`rmqpool.outbox.Inbox.prune`."""
        seconds, chunk, pruned = prune_seconds(older_than), whole_number("chunk", chunk), 0
        self.open(1)
        try:
            while True:
                if self._pool is None:
                    self._pool = self._make_pool()
                async with self._pool.transaction(self._timeout) as transaction:
                    gone = await self._prune(transaction, [seconds, chunk])
                pruned += gone
                if gone < chunk:
                    return pruned
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections when nobody uses them any more; the application's own pool is left as it is."""
        self._users = max(0, self._users - 1)
        if self._users:
            return
        pool, self._pool = self._pool, None
        if pool is not None and pool is not self._database:
            await pool.close()

    def __repr__(self) -> str:
        return f"<AsyncInbox {self._tables.inbox}>"

    async def _mark(self, transaction: AsyncTransaction[Any], consumer: str, message_id: str) -> bool:
        if isinstance(transaction, AsyncBorrowedTransaction):
            return bool(await self._mark_borrowed(transaction, self._statements.mark_one, [consumer, message_id]))
        async with psycopg.AsyncClientCursor(transaction.connection) as cursor:
            await cursor.execute(self._statements.mark, [self._lock_timeout, consumer, message_id])
            cursor.nextset()  # SET has no rows
            return await cursor.fetchone() is not None

    async def _mark_batch(
        self, transaction: AsyncTransaction[Any], consumer: str, message_ids: Sequence[str]
    ) -> set[str]:
        if isinstance(transaction, AsyncBorrowedTransaction):
            parameters = [consumer, list(message_ids)]
            return await self._mark_borrowed(transaction, self._statements.mark_many.decode(), parameters)
        async with psycopg.AsyncClientCursor(transaction.connection) as cursor:
            await cursor.execute(self._statements.mark_batch, [self._lock_timeout, consumer, list(message_ids)])
            cursor.nextset()  # SET has no rows
            return {message_id async for (message_id,) in cursor}

    async def _prune(self, transaction: AsyncTransaction[Any], parameters: list[Any]) -> int:
        if isinstance(transaction, AsyncBorrowedTransaction):
            return int((await transaction.rows(self._statements.prune_counted, parameters))[0][0])
        return int((await transaction.connection.execute(self._statements.prune, parameters)).rowcount)

    async def _mark_borrowed(self, transaction: AsyncBorrowedTransaction, sql: str, parameters: list[Any]) -> set[str]:
        await transaction.rows(self._statements.wait_for_others, [self._lock_timeout])
        found = {message_id for (message_id,) in await transaction.rows(sql, parameters)}
        await transaction.rows(self._statements.wait_as_before, [])
        return found

    def _make_pool(self) -> AsyncOutboxPool[Any]:
        database = self._database
        if isinstance(database, AsyncOutboxPool):
            return database
        if not isinstance(database, str | Secret):
            return AsyncOutboxPool.of(cast("Any", database), tables=self._tables)
        return AsyncOutboxPool(
            database, min_size=0, max_size=self._concurrency, timeout=self._timeout, tables=self._tables, name="inbox"
        )
