"""What Outbox and AsyncOutbox have in common: everything checked and encoded, ready for one statement. No I/O."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rmqpool.core.lanes import LANES
from rmqpool.errors import MessageError
from rmqpool.header_checks import check_headers
from rmqpool.outbox import migrations
from rmqpool.outbox.rows import Columns, OutboxOptions, check_key, prepare_row_message
from rmqpool.outbox.statements import Style, insert_rows, insert_scheduled, select_version
from rmqpool.outbox.tables import Tables, tables_or_default

__all__ = ["Inject", "Write", "Writes"]

Inject = Callable[[dict[str, Any]], object]
_LONGEST_DELAY = 10 * 365 * 24 * 3600.0  # seconds: ten years, as for a message's expiration


@dataclass(frozen=True, slots=True)
class Write:
    """One statement's worth of rows."""

    tables: Tables
    columns: Columns
    message_ids: list[str]
    due: tuple[datetime | None, float] | None  # when, and seconds to add to it; None: now
    ring: bool

    def sql(self, style: Style) -> str:
        """The statement with a driver's placeholders."""
        if self.due is not None:
            return insert_scheduled(self.tables, style)
        return insert_rows(self.tables, style, ring=self.ring)

    @property
    def parameters(self) -> list[Any]:
        """The statement's parameters, in order."""
        return [*self.columns.parameters(), *(self.due or ())]


class Writes:
    """Makes writes. Thread-safe."""

    def __init__(self, tables: Tables | None, inject: Inject | None, max_message_size: int, doorbell: bool) -> None:
        self.tables = tables_or_default(tables)
        self.is_checked = False  # the tables are of a version that this release can write to
        self._inject = inject
        self._max_message_size = max_message_size
        self._doorbell = doorbell
        self._lanes = itertools.count(random.randrange(LANES))

    def one(
        self,
        exchange: str,
        routing_key: str,
        body: object,
        key: str | None,
        at: datetime | None,
        delay: float | timedelta | None,
        options: OutboxOptions,
    ) -> Write:
        """One message. Raises MessageError."""
        due = _due(at, delay)
        columns = Columns()
        message = prepare_row_message(exchange, routing_key, body, self._max_message_size, self._carrying(options))
        columns.add(message, check_key(key), self._next_lane)
        return Write(self.tables, columns, [message.message_id], due, self._doorbell)

    def many(
        self,
        exchange: str,
        routing_key: str,
        bodies: Iterable[object],
        key: str | Callable[[Any], str | None] | None,
        at: datetime | None,
        delay: float | timedelta | None,
        options: OutboxOptions,
    ) -> Write:
        """Many messages; all are checked. Raises MessageError."""
        if isinstance(bodies, str | bytes | bytearray | memoryview | Mapping):
            kind = type(bodies).__name__
            raise MessageError(
                f"publish_many takes a list of bodies, not one {kind}: its parts would be messages of their own; "
                "publish() writes one",
                field="bodies",
            )
        if options.get("message_id") is not None:
            raise MessageError(
                "publish_many gives each message an id of its own: leave message_id out", field="message_id"
            )
        due = _due(at, delay)
        columns, ids = Columns(), []
        for body in bodies:
            carried = self._carrying(options)
            message = prepare_row_message(exchange, routing_key, body, self._max_message_size, carried)
            columns.add(message, check_key(key(body) if callable(key) else key), self._next_lane)
            ids.append(message.message_id)
        return Write(self.tables, columns, ids, due, self._doorbell)

    def version_query(self, style: Style) -> tuple[str, list[Any]]:
        """The statement, and its parameters, that tells the version for :meth:`check_version`."""
        return select_version(self.tables, style), [migrations.LATEST]

    def check_version(self, version: int) -> None:
        """Raise OutboxSchemaError if the tables are of an older release. A newer one's are the newer one's business:
        it is migrated first, and services follow one by one."""
        migrations.refuse_older(version, self.tables)
        self.is_checked = True

    def _next_lane(self) -> int:
        return next(self._lanes) % LANES

    def _carrying(self, options: OutboxOptions) -> OutboxOptions:
        """The options, with the headers that ``inject`` adds; what the caller gave stays as it is."""
        if self._inject is None:
            return options
        added: dict[str, Any] = {}
        self._inject(added)
        headers = options.get("headers")
        given = check_headers(headers) if headers is not None else {}
        return {**options, "headers": {**added, **given}}


def _due(at: object, delay: object) -> tuple[datetime | None, float] | None:
    if at is None and delay is None:
        return None
    if at is not None and delay is not None:
        raise MessageError("at and delay both say when: give one of them", field="delay")
    if at is None:
        return None, _seconds(delay)
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise MessageError("at must be a datetime with a time zone: use datetime.now(timezone.utc)", field="at")
    return at, 0.0


def _seconds(delay: object) -> float:
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise MessageError("delay must be seconds (a finite number) or a timedelta", field="delay")
    if not 0 <= seconds <= _LONGEST_DELAY:
        raise MessageError(f"delay is {seconds:g} s; it must be from 0 to ten years", field="delay")
    return float(seconds)
