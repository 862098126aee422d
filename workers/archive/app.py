"""The archive: a batch is copied into the table in the transaction in which the inbox marks it; then it is acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg

from rmqpool import Backoff, BatchError, Binding, Delivery, Reject, RetryPolicy, Worker
from rmqpool.errors import ConfigurationError, DecodeError
from rmqpool.outbox import Inbox, Transaction
from rmqpool.secret import Secret
from workers.archive.settings import ArchiveSettings
from workers.archive.table import Table, row_of

__all__ = ["make_worker"]

Failures = dict[Delivery, Reject]

_CONSUMER = "archive"  # of the marks: the queue may be renamed
_REFUSED = (psycopg.DataError, UnicodeError, OverflowError)  # of one message: NUL in a text, half a surrogate pair


def make_worker(
    settings: ArchiveSettings, database: Secret | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Worker:
    """The worker for these settings; ``now`` is for tests. Raises ConfigurationError."""
    if database is None:
        raise ConfigurationError("RMQPOOL_POSTGRES_URL is not set: set it to the URL of the archive's database")
    bindings = [Binding(settings.exchange, settings.queue, settings.routing_key)] if settings.exchange else []
    worker = Worker("archive", declare=bindings)
    table = Table(settings.table)

    @worker.consumer(
        settings.queue,
        batch=settings.batch,
        batch_timeout=settings.batch_timeout,
        concurrency=settings.concurrency,
        inbox=Inbox(database, consumer=_CONSUMER),
        reply="never",  # another consumer answers
        retry=RetryPolicy(
            settings.max_attempts, Backoff(5, 600)
        ),  # what is no fault of a message: a right, a full disk
    )
    def store(deliveries: list[Delivery], transaction: Transaction) -> None:
        """Once for each message_id, for as long as the inbox remembers it."""
        connection, moment = transaction.connection, now()
        rows, failures = _rows(deliveries, moment)
        table.make_room(connection, moment.astimezone(UTC).date())
        if not failures:
            try:
                table.copy(connection, rows.values())
            except _REFUSED:
                failures = _refused(table, connection, rows)
        if failures:
            raise BatchError(failures)  # these are parked, and the others come again at once

    return worker


def _rows(deliveries: list[Delivery], moment: datetime) -> tuple[dict[Delivery, tuple[Any, ...]], Failures]:
    rows: dict[Delivery, tuple[Any, ...]] = {}
    failures: Failures = {}
    for delivery in deliveries:
        try:
            rows[delivery] = row_of(delivery, moment)
        except (DecodeError, OverflowError) as error:
            failures[delivery] = _rejection(error)
    return rows, failures


def _refused(table: Table, connection: psycopg.Connection[Any], rows: dict[Delivery, tuple[Any, ...]]) -> Failures:
    """Which of them the database does not take: each is tried alone."""
    failures: Failures = {}
    for delivery, row in rows.items():
        try:
            table.copy(connection, [row])
        except _REFUSED as error:
            failures[delivery] = _rejection(error)
    return failures


def _rejection(error: Exception) -> Reject:
    told = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Reject(f"it cannot be archived: {told[:200]}")
