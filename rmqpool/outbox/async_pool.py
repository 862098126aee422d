"""AsyncOutboxPool: OutboxPool for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
import psycopg_pool
import tenacity

from rmqpool.errors import PoolTimeoutError
from rmqpool.outbox.async_writing import AsyncOutbox
from rmqpool.outbox.pool_parts import (
    IdleTimes,
    OutboxPoolStats,
    commit_failed,
    connection_options,
    not_given,
    retrying,
    stats_of,
)
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.transaction import AsyncTransaction
from rmqpool.secret import Secret

__all__ = ["AsyncOutboxPool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncOutboxPool:
    """As :class:`rmqpool.outbox.OutboxPool`, awaited. Belongs to one event loop; open it there."""

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
        self._idle = IdleTimes(check_after)
        self._isolation_level = isolation_level
        self._owned = True
        self._timeout = timeout
        self.outbox = outbox or AsyncOutbox(tables)
        self._pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]] = psycopg_pool.AsyncConnectionPool(
            "",
            kwargs=connection_options(database, name, pgbouncer=pgbouncer),
            min_size=min_size,
            max_size=max_size,
            open=False,
            configure=self._configure,
            check=self._check,
            reset=self._reset,
            name=name,
            timeout=timeout,
            max_waiting=max_waiting,
            max_lifetime=max_lifetime,
            max_idle=max_idle,
        )

    @classmethod
    def of(
        cls,
        pool: psycopg_pool.AsyncConnectionPool[Any],
        *,
        tables: Tables | None = None,
        outbox: AsyncOutbox | None = None,
    ) -> Self:
        """Transactions on the application's own pool, which stays its own."""
        one = cls.__new__(cls)
        one._idle = IdleTimes(float("inf"))
        one._isolation_level = None
        one._owned = False
        one._timeout = pool.timeout
        one._pool = pool
        one.outbox = outbox or AsyncOutbox(tables)
        return one

    async def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """As :meth:`rmqpool.outbox.OutboxPool.open`."""
        if self._owned:
            await self._pool.open()
        if wait:
            try:
                await self._pool.wait(timeout)
            except psycopg_pool.PoolTimeout as error:
                await self._pool.close(0)
                raise PoolTimeoutError(
                    f"no connection to Postgres within {timeout:g} s: is the server up, and the URL right?"
                ) from error

    @asynccontextmanager
    async def transaction(self, timeout: float | None = None) -> AsyncIterator[AsyncTransaction]:
        """As :meth:`rmqpool.outbox.OutboxPool.transaction`; a cancelled task rolls back and gives its connection back."""
        connection = await self._take(self._timeout if timeout is None else timeout)
        transaction = AsyncTransaction(connection, self.outbox)
        try:
            try:
                yield transaction
            finally:
                transaction.over = True
            try:
                await connection.commit()
            except psycopg.Error as error:
                unknown = commit_failed(error)
                if unknown is None:
                    raise
                raise unknown from error
        except BaseException:
            with suppress(psycopg.Error):
                await connection.rollback()
            raise
        finally:
            await self._pool.putconn(connection)

    async def run(
        self,
        function: Callable[Concatenate[AsyncTransaction, _P], Awaitable[_T]],
        *arguments: _P.args,
        **named: _P.kwargs,
    ) -> _T:
        """As :meth:`rmqpool.outbox.OutboxPool.run`."""
        result: _T = await self.retrying()(function, *arguments, **named)
        return result

    def retrying(self, attempts: int = 5, deadline: float = 10.0) -> Callable[..., Awaitable[Any]]:
        """As :meth:`rmqpool.outbox.OutboxPool.retrying`."""

        async def once(function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...], named: Any) -> Any:
            async with self.transaction() as transaction:
                return await function(transaction, *arguments, **named)

        async def call(function: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
            return await tenacity.AsyncRetrying(**retrying(attempts, deadline))(once, function, arguments, named)

        return call

    def stats(self) -> OutboxPoolStats:
        """The figures of this moment."""
        return stats_of(self._pool)

    async def close(self, timeout: float = 5.0) -> None:
        """As :meth:`rmqpool.outbox.OutboxPool.close`."""
        if self._owned:
            await self._pool.close(timeout)

    async def __aenter__(self) -> Self:
        if self._owned:
            await self._pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        stats = self.stats()
        state = "closed" if self._pool.closed else f"{stats.size} of {stats.max_size} connections, {stats.idle} idle"
        return f"<AsyncOutboxPool {stats.name}: {state}>"

    async def _take(self, timeout: float) -> psycopg.AsyncConnection[Any]:
        if self._owned and self._pool.closed:
            with suppress(psycopg.OperationalError):  # closed for good: getconn says so
                await self._pool.open()
        try:
            return await self._pool.getconn(timeout)
        except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, psycopg_pool.PoolClosed) as error:
            raise not_given(error, self._pool, timeout) from error

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if self._isolation_level is not None:
            await connection.set_isolation_level(self._isolation_level)
        self._idle.returned(connection)

    async def _reset(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._idle.returned(connection)

    async def _check(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if self._idle.needs_check(connection):
            await psycopg_pool.AsyncConnectionPool.check_connection(connection)
