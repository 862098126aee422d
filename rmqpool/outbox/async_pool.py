"""AsyncOutboxPool: OutboxPool for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import psycopg
import psycopg_pool
import tenacity

from rmqpool.errors import PoolClosedError
from rmqpool.outbox.adapters import async_borrowing_pool
from rmqpool.outbox.async_writing import AsyncOutbox
from rmqpool.outbox.pool_alive import answers_async, is_lost
from rmqpool.outbox.pool_connections import AsyncPooledConnection, Database, new_async_pool
from rmqpool.outbox.pool_manners import Manners, adopt_async, restore_async
from rmqpool.outbox.pool_parts import (
    Figures,
    OutboxPoolStats,
    check_before_commit,
    check_sizes,
    commit_failed,
    not_given,
    retrying,
    stats_of,
    what_is_left,
)
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.transaction import AsyncConnectionT, AsyncTransaction
from rmqpool.pool_options import seconds
from rmqpool.secret import Secret

if TYPE_CHECKING:
    from rmqpool.outbox.adapters.pool_types import AsyncEngine, AsyncpgPool

__all__ = ["AsyncOutboxPool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_OfPool = TypeVar("_OfPool", bound="psycopg.AsyncConnection[Any]")
_Connection = psycopg.AsyncConnection[Any]
_CLOSED = "the pool of Postgres connections is closed: make a new one"
_FORKED = "the pool is of the process that forked this one: make one in each process, in its own event loop"


class AsyncOutboxPool(Generic[AsyncConnectionT]):
    """As :class:`rmqpool.outbox.OutboxPool`, awaited. Belongs to one event loop, and not to a forked child."""

    def __init__(
        self,
        database: str | Secret,
        *,
        min_size: int = 1,
        max_size: int = 10,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 3600.0,
        max_idle: float = 600.0,
        check_after: float = 30.0,
        pgbouncer: bool = False,
        isolation_level: psycopg.IsolationLevel | None = None,
        tables: Tables | None = None,
        outbox: AsyncOutbox | None = None,
        name: str = "rmqpool",
    ) -> None:
        sizes = {
            "min_size": min_size,
            "max_size": max_size,
            "timeout": timeout,
            "max_lifetime": max_lifetime,
            "max_idle": max_idle,
        }
        check_sizes(**sizes)  # type: ignore[arg-type]
        owned = Database(database, name)
        pool = new_async_pool(owned, pgbouncer=pgbouncer, name=name, max_waiting=max_waiting, **sizes)
        self._check_after = check_after
        self._set_up(pool, owned, timeout, isolation_level, outbox or AsyncOutbox(tables))

    @overload
    @classmethod
    def of(
        cls,
        pool: psycopg_pool.AsyncConnectionPool[_OfPool],
        *,
        tables: Tables | None = None,
        outbox: AsyncOutbox | None = None,
    ) -> AsyncOutboxPool[_OfPool]: ...
    @overload
    @classmethod
    def of(
        cls, pool: AsyncEngine[_T], *, tables: Tables | None = None, outbox: AsyncOutbox | None = None
    ) -> AsyncOutboxPool[_T]: ...
    @overload
    @classmethod
    def of(
        cls, pool: AsyncpgPool, *, tables: Tables | None = None, outbox: AsyncOutbox | None = None
    ) -> AsyncOutboxPool[Any]: ...
    @classmethod
    def of(
        cls,
        pool: object,
        *,
        tables: Tables | None = None,
        outbox: AsyncOutbox | None = None,
    ) -> AsyncOutboxPool[Any]:
        """Transactions on the application's own pool, which stays its own.

        A psycopg_pool.AsyncConnectionPool, a SQLAlchemy AsyncEngine (on psycopg or asyncpg), or an asyncpg Pool; as
        :meth:`rmqpool.outbox.OutboxPool.of`.
        """
        if not isinstance(pool, psycopg_pool.AsyncConnectionPool):
            borrowing: AsyncOutboxPool[Any] = async_borrowing_pool(pool, outbox or AsyncOutbox(tables))
            return borrowing
        one = cls.__new__(cls)
        one._check_after = float("inf")
        one._set_up(pool, None, pool.timeout, None, outbox or AsyncOutbox(tables))
        return one

    def _set_up(
        self,
        pool: psycopg_pool.AsyncConnectionPool[Any],
        database: Database | None,
        timeout: float,
        isolation_level: psycopg.IsolationLevel | None,
        outbox: AsyncOutbox,
    ) -> None:
        self._pool, self._database = pool, database
        self._timeout, self._isolation_level, self.outbox = timeout, isolation_level, outbox
        self._figures = Figures()
        self._process = os.getpid()
        self._closed = False
        self._going_back: set[asyncio.Task[None]] = set()

    async def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """As :meth:`rmqpool.outbox.OutboxPool.open`."""
        await self._open()
        if wait:
            await self._finish(self._give_back(await self._take(timeout)))

    @asynccontextmanager
    async def transaction(self, timeout: float | None = None) -> AsyncIterator[AsyncTransaction[AsyncConnectionT]]:
        """As :meth:`rmqpool.outbox.OutboxPool.transaction`; a cancelled task rolls back and gives its connection back.

        Cancelled while it commits, nobody knows whether it was done.
        """
        connection = await self._take(self._timeout if timeout is None else timeout)
        transaction: AsyncTransaction[Any] = AsyncTransaction(connection, self.outbox)
        before = None
        began, outcome = time.monotonic(), "rolled_back"
        try:
            before = await adopt_async(connection, self._isolation_level)
            yield transaction
            transaction.check()
            check_before_commit(connection)
            outcome = "unknown"
            try:
                await connection.commit()
            except psycopg.Error as error:
                unknown = commit_failed(error)
                if unknown is None:
                    outcome = "rolled_back"
                    raise
                raise unknown from error
            outcome = "committed"
        finally:
            transaction.over = True
            if not transaction.is_inherited:
                self._figures.ended(outcome, began)
                await self._finish(self._end(connection, before, commit_was_done=outcome == "committed"))

    async def run(
        self,
        function: Callable[Concatenate[AsyncTransaction[AsyncConnectionT], _P], Awaitable[_T]],
        *arguments: _P.args,
        **named: _P.kwargs,
    ) -> _T:
        """As :meth:`rmqpool.outbox.OutboxPool.run`."""
        result: _T = await self.retrying()(function, *arguments, **named)
        return result

    def retrying(self, attempts: int = 5, deadline: float = 10.0) -> Callable[..., Awaitable[Any]]:
        """As :meth:`rmqpool.outbox.OutboxPool.retrying`."""
        options = retrying(attempts, deadline)

        async def call(function: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
            until = time.monotonic() + deadline

            async def once() -> Any:
                async with self.transaction(what_is_left(until, self._timeout)) as transaction:
                    return await function(transaction, *arguments, **named)

            return await tenacity.AsyncRetrying(**options)(once)

        return call

    def stats(self) -> OutboxPoolStats:
        """The figures of this moment."""
        return stats_of(self._pool, self._figures)

    async def close(self, timeout: float = 5.0) -> bool:
        """As :meth:`rmqpool.outbox.OutboxPool.close`."""
        deadline = time.monotonic() + timeout
        self._closed = True
        ended = await asyncio.to_thread(self._figures.wait_for_nobody, timeout)
        if self._database is not None:
            await self._pool.close(max(0.1, deadline - time.monotonic()))
        return ended

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        stats = self.stats()
        state = "closed" if self._closed else f"{stats.size} of {stats.max_size} connections, {stats.idle} idle"
        return f"<AsyncOutboxPool {stats.name}: {state}>"

    def _check_open(self) -> None:
        if os.getpid() != self._process:
            raise PoolClosedError(_FORKED)
        if self._closed:
            raise PoolClosedError(_CLOSED)

    async def _open(self) -> None:
        self._check_open()
        if self._database is not None and self._pool.closed:
            try:
                await self._pool.open()
            except psycopg_pool.PoolClosed:
                raise PoolClosedError(_CLOSED) from None

    async def _take(self, timeout: float) -> _Connection:
        deadline = time.monotonic() + seconds("timeout", timeout)
        await self._open()
        while True:
            connection = await self._next(deadline, timeout)
            self._figures.count("leased")
            try:
                self._check_open()
                if await self._is_alive(connection, deadline):
                    return connection
                self._figures.count("found_lost")
            except PoolClosedError:
                await self._finish(self._give_back(connection))
                raise
            except BaseException:
                connection.pgconn.finish()  # a question may be under way
                await self._finish(self._give_back(connection))
                raise
            connection.pgconn.finish()
            await self._finish(self._give_back(connection))

    async def _next(self, deadline: float, timeout: float) -> _Connection:
        try:
            connection: _Connection = await self._pool.getconn(max(0.0, deadline - time.monotonic()))
            return connection
        except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, psycopg_pool.PoolClosed) as error:
            if isinstance(error, psycopg_pool.PoolTimeout):
                self._figures.count("timeouts")
            said = self._database.last_error if self._database is not None else None
            raise not_given(error, self.stats(), timeout, said) from None

    async def _is_alive(self, connection: _Connection, deadline: float) -> bool:
        if is_lost(connection):
            return False
        if not isinstance(connection, AsyncPooledConnection):
            return True
        idle_for = time.monotonic() - connection.idle_since
        return idle_for <= self._check_after or await answers_async(connection, deadline)

    async def _end(self, connection: _Connection, before: Manners | None, *, commit_was_done: bool) -> None:
        try:
            if not commit_was_done and not connection.closed:
                try:
                    await connection.rollback()
                except psycopg.Error:
                    await connection.close()
            if before is not None:
                await restore_async(connection, before)
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: _Connection) -> None:
        if isinstance(connection, AsyncPooledConnection):
            connection.idle_since = time.monotonic()
        try:
            await self._pool.putconn(connection)
        finally:
            self._figures.count("leased", -1)

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for it; it goes on to its end even if whoever waits is cancelled, or a connection would be lost."""
        task = asyncio.ensure_future(work)
        self._going_back.add(task)
        task.add_done_callback(self._going_back.discard)
        await asyncio.shield(task)
