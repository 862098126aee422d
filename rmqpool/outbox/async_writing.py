"""AsyncOutbox: Outbox for connections that are awaited."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Unpack

from rmqpool.outbox.drivers import async_driver_of
from rmqpool.outbox.rows import OutboxOptions
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.writes import Inject, Write, Writes

__all__ = ["AsyncOutbox"]


class AsyncOutbox:
    """As :class:`rmqpool.outbox.Outbox`, for psycopg's AsyncConnection, asyncpg, and SQLAlchemy's async classes."""

    def __init__(
        self,
        tables: Tables | None = None,
        *,
        inject: Inject | None = None,
        max_message_size: int = 128 * 1024 * 1024,
        doorbell: bool = True,
    ) -> None:
        self._writes = Writes(tables, inject, max_message_size, doorbell)

    @property
    def tables(self) -> Tables:
        """The outbox' tables."""
        return self._writes.tables

    async def publish(
        self,
        connection: Any,
        queue: str,
        body: object,
        *,
        key: str | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> str:
        """As :meth:`rmqpool.outbox.Outbox.publish`."""
        return await self.publish_to(connection, "", queue, body, key=key, at=at, delay=delay, **options)

    async def publish_to(
        self,
        connection: Any,
        exchange: str,
        routing_key: str,
        body: object,
        *,
        key: str | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> str:
        """As :meth:`rmqpool.outbox.Outbox.publish_to`."""
        write = self._writes.one(exchange, routing_key, body, key, at, delay, options)
        await self._execute(connection, write)
        return write.message_ids[0]

    async def publish_many(
        self,
        connection: Any,
        queue: str,
        bodies: Iterable[object],
        *,
        exchange: str = "",
        key: str | Callable[[Any], str | None] | None = None,
        at: datetime | None = None,
        delay: float | timedelta | None = None,
        **options: Unpack[OutboxOptions],
    ) -> list[str]:
        """As :meth:`rmqpool.outbox.Outbox.publish_many`."""
        write = self._writes.many(exchange, queue, bodies, key, at, delay, options)
        if write.message_ids:
            await self._execute(connection, write)
        return write.message_ids

    async def _execute(self, connection: Any, write: Write) -> None:
        driver = async_driver_of(connection)
        await driver.check_transaction(connection)
        writes = self._writes
        if not writes.is_checked:  # with the first message only
            writes.check_version(await driver.fetch(connection, *writes.version_query(driver.style), writes.tables))
        await driver.execute(connection, write.sql(driver.style), write.parameters, writes.tables)

    def __repr__(self) -> str:
        return f"<AsyncOutbox {self.tables.outbox}>"
