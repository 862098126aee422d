"""What a pool's ``transaction()`` hands out: the application's statements and its messages, committed together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Unpack, overload

import psycopg

from rmqpool.errors import NotInTransactionError
from rmqpool.outbox.async_writing import AsyncOutbox
from rmqpool.outbox.pool_alive import is_lost
from rmqpool.outbox.rows import OutboxOptions
from rmqpool.outbox.writing import Outbox

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

    ConnectionT = TypeVar("ConnectionT", covariant=True, default=psycopg.Connection[Any])
    AsyncConnectionT = TypeVar("AsyncConnectionT", covariant=True, default=psycopg.AsyncConnection[Any])
else:
    from typing import TypeVar

    ConnectionT, AsyncConnectionT = (TypeVar(name, covariant=True) for name in ("ConnectionT", "AsyncConnectionT"))

__all__ = ["AsyncConnectionT", "AsyncTransaction", "ConnectionT", "Transaction"]

Parameters = Sequence[Any] | Mapping[str, Any] | None


class _Held:
    """A connection for as long as the transaction lasts."""

    def __init__(self) -> None:
        self.over = False
        self._process = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """This is a forked child, and the transaction its parent's."""
        return os.getpid() != self._process

    def check(self) -> None:
        if self.is_inherited:
            raise NotInTransactionError(
                "this transaction was begun by the process that forked this one: two on one connection would break it. "
                "Take a new transaction"
            )
        if self.over:
            raise NotInTransactionError(
                "this transaction is over: its connection belongs to the pool again. Keep statements and messages "
                "inside the block, or take a new transaction"
            )


class Transaction(_Held, Generic[ConnectionT]):
    """One open transaction. Belongs to one thread, and to its block: afterwards everything raises NotInTransactionError.

    ``Transaction[sqlalchemy.Connection]`` is one on that library's connection; without a word it is psycopg's.
    """

    def __init__(self, connection: ConnectionT, outbox: Outbox) -> None:
        super().__init__()
        self._connection: Any = connection
        self._outbox = outbox

    @property
    def connection(self) -> ConnectionT:
        """The library's connection, for all that it can. Committing or closing it is the block's business."""
        self.check()
        connection: ConnectionT = self._connection
        return connection

    @property
    def is_broken(self) -> bool:
        """The connection is lost; nothing of the transaction is left. Also when it is over."""
        return bool(self._connection.closed)

    def looks_lost(self) -> bool:
        """Whether its connection is lost, as far as is known without asking the server."""
        return is_lost(self._connection)

    @overload
    def execute(
        self: Transaction[psycopg.Connection[Any]], sql: str, parameters: Parameters = None
    ) -> psycopg.Cursor[Any]: ...
    @overload
    def execute(self, sql: str, parameters: Parameters = None) -> Any: ...
    def execute(self, sql: str, parameters: Parameters = None) -> Any:
        """Run a statement with psycopg's placeholders; returns the cursor. Raises psycopg.Error."""
        self.check()
        return self._connection.execute(sql.encode(), parameters)

    def publish(
        self,
        queue: str,
        body: object,
        *,
        key: str | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> str:
        """As :meth:`rmqpool.outbox.Outbox.publish`, in this transaction."""
        return self._outbox.publish(self.connection, queue, body, key=key, at=at, delay=delay, **options)

    def publish_to(
        self,
        exchange: str,
        routing_key: str,
        body: object,
        *,
        key: str | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> str:
        """As :meth:`rmqpool.outbox.Outbox.publish_to`, in this transaction."""
        return self._outbox.publish_to(
            self.connection, exchange, routing_key, body, key=key, at=at, delay=delay, **options
        )

    def publish_many(
        self,
        queue: str,
        bodies: Iterable[object],
        *,
        exchange: str = "",
        key: str | Callable[[Any], str | None] | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> list[str]:
        """As :meth:`rmqpool.outbox.Outbox.publish_many`, in this transaction."""
        return self._outbox.publish_many(
            self.connection, queue, bodies, exchange=exchange, key=key, at=at, delay=delay, **options
        )

    def __repr__(self) -> str:
        return f"<Transaction {'over' if self.over else 'open'}>"


class AsyncTransaction(_Held, Generic[AsyncConnectionT]):
    """As :class:`Transaction`, awaited. Belongs to one task."""

    def __init__(self, connection: AsyncConnectionT, outbox: AsyncOutbox) -> None:
        super().__init__()
        self._connection: Any = connection
        self._outbox = outbox

    @property
    def connection(self) -> AsyncConnectionT:
        """As :attr:`Transaction.connection`."""
        self.check()
        connection: AsyncConnectionT = self._connection
        return connection

    @property
    def is_broken(self) -> bool:
        """The connection is lost; nothing of the transaction is left. Also when it is over."""
        return bool(self._connection.closed)

    def looks_lost(self) -> bool:
        """As :meth:`Transaction.looks_lost`."""
        return is_lost(self._connection)

    @overload
    async def execute(
        self: AsyncTransaction[psycopg.AsyncConnection[Any]], sql: str, parameters: Parameters = None
    ) -> psycopg.AsyncCursor[Any]: ...
    @overload
    async def execute(self, sql: str, parameters: Parameters = None) -> Any: ...
    async def execute(self, sql: str, parameters: Parameters = None) -> Any:
        """Run a statement with psycopg's placeholders; returns the cursor. Raises psycopg.Error."""
        self.check()
        return await self._connection.execute(sql.encode(), parameters)

    async def publish(
        self,
        queue: str,
        body: object,
        *,
        key: str | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> str:
        """As :meth:`rmqpool.outbox.AsyncOutbox.publish`, in this transaction."""
        return await self._outbox.publish(self.connection, queue, body, key=key, at=at, delay=delay, **options)

    async def publish_to(
        self,
        exchange: str,
        routing_key: str,
        body: object,
        *,
        key: str | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> str:
        """As :meth:`rmqpool.outbox.AsyncOutbox.publish_to`, in this transaction."""
        return await self._outbox.publish_to(
            self.connection, exchange, routing_key, body, key=key, at=at, delay=delay, **options
        )

    async def publish_many(
        self,
        queue: str,
        bodies: Iterable[object],
        *,
        exchange: str = "",
        key: str | Callable[[Any], str | None] | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> list[str]:
        """As :meth:`rmqpool.outbox.AsyncOutbox.publish_many`, in this transaction."""
        return await self._outbox.publish_many(
            self.connection, queue, bodies, exchange=exchange, key=key, at=at, delay=delay, **options
        )

    def __repr__(self) -> str:
        return f"<AsyncTransaction {'over' if self.over else 'open'}>"
