"""Outbox: a message is written in the caller's own transaction, and sent if, and only if, that commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Unpack

from rmqpool.outbox.drivers import sync_driver_of
from rmqpool.outbox.rows import OutboxOptions
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.writes import Inject, Write, Writes

__all__ = ["Outbox"]


class Outbox:
    """Writes messages into the outbox, on connections of the caller's. Thread-safe; holds no connection.

    ``connection`` is the connection, session or Django connection of the transaction that the message belongs to. It is
    neither committed nor rolled back nor closed here. ``tables`` names the outbox' tables. ``inject`` is called with the
    headers of each message and may add some: ``opentelemetry.propagate.inject`` carries the trace on.
    ``max_message_size`` is bytes. ``doorbell`` False leaves the NOTIFY out; relays then find the row by polling.

    Every method raises, before anything is written: MessageError (the message cannot be sent), NotInTransactionError
    (autocommit, or the transaction failed already), UnsupportedConnectionError; and OutboxSchemaError if the tables are
    of an older release, or if Postgres refuses the statement for the sake of tables or rights: the transaction can then
    only be rolled back. The version is read once, with the first message: give each database an Outbox of its own.
    """

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

    def publish(
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
        """Write one message to ``queue``; returns its message id.

        Messages of one ``key`` leave in the order in which they were written, if writers of one key wait for each other
        (a lock on the row that the key stands for does it). ``at`` (aware) or ``delay`` (seconds, from the database's
        clock) is the earliest time to send it.
        """
        return self.publish_to(connection, "", queue, body, key=key, at=at, delay=delay, **options)

    def publish_to(
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
        """As :meth:`publish`, to an exchange with a routing key."""
        write = self._writes.one(exchange, routing_key, body, key, at, delay, options)
        self._execute(connection, write)
        return write.message_ids[0]

    def publish_many(
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
        """Write all ``bodies`` with one statement; returns their message ids, in order.

        ``key`` is one key for all, or a function of the body. Every body is checked before anything is written. None for
        no bodies: nothing is executed.
        """
        write = self._writes.many(exchange, queue, bodies, key, at, delay, options)
        if write.message_ids:
            self._execute(connection, write)
        return write.message_ids

    def _execute(self, connection: Any, write: Write) -> None:
        driver = sync_driver_of(connection)
        driver.check_transaction(connection)
        writes = self._writes
        if not writes.is_checked:  # with the first message only
            writes.check_version(driver.fetch(connection, *writes.version_query(driver.style), writes.tables))
        driver.execute(connection, write.sql(driver.style), write.parameters, writes.tables)

    def __repr__(self) -> str:
        return f"<Outbox {self.tables.outbox}>"
