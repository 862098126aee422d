"""The demo's accounts, all of them from the database: what was committed, published, handled; lost is what was committed
and never handled, doubled what was handled twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from rmqpool.outbox import Tables
from rmqpool.outbox.inspection import status
from workers.demo.cast import Tail

__all__ = ["Account", "Rate", "Score"]

_WINDOW = 2.0  # seconds over which a rate is taken
_FIGURES = """
SELECT (SELECT count(*) FROM orders),
    (SELECT count(*) FROM rmqpool_outbox) + (SELECT count(*) FROM rmqpool_held) + (SELECT count(*) FROM rmqpool_dead),
    (SELECT coalesce(jsonb_object_agg(worker, handled), '{}')
        FROM (SELECT worker, count(*) AS handled FROM shipments GROUP BY worker) AS of_worker)"""
_ACCOUNT = """
SELECT (SELECT count(DISTINCT message_id) FROM shipments),
    (SELECT count(*) FROM orders AS o WHERE NOT EXISTS (SELECT FROM shipments AS s WHERE s.message_id = o.message_id)),
    (SELECT count(*) - count(DISTINCT message_id) FROM shipments),
    (SELECT count(*) FROM shipments AS s WHERE NOT EXISTS (SELECT FROM orders AS o WHERE o.message_id = s.message_id))"""


class Rate:
    """A count, and how fast it grew over the last two seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()
        self.total = 0

    def reach(self, total: int) -> None:
        """The count is ``total`` now."""
        self.total = total
        now = time.monotonic()
        self._points.append((now, total))
        while self._points[0][0] < now - _WINDOW:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        """The present rate."""
        if not self._points:
            return 0.0
        (first_at, first), (last_at, last) = self._points[0], self._points[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0


@dataclass(frozen=True)
class Account:
    """How it ended; every number counts orders. ``phantom`` were handled although they were rolled back."""

    committed: int
    rolled_back: int
    published: int
    handled: int
    lost: int
    doubled: int
    phantom: int

    @property
    def ok(self) -> bool:
        """What was committed was handled, once, and nothing else was."""
        return not (self.lost or self.doubled or self.phantom) and self.published == self.committed == self.handled


class Score:
    """Looks into the database. A context manager: it has a connection, opened in it."""

    def __init__(self, database: str, rollbacks: Path, workers: Sequence[int]) -> None:
        self._database = database
        self._rollbacks = Tail(rollbacks)
        self._connection: psycopg.Connection[Any] | None = None
        self.committed = Rate()
        self.rolled_back = Rate()
        self.published = Rate()
        self.handled = {number: Rate() for number in workers}

    def read(self) -> None:
        """Look again. All figures are of one moment."""
        committed, unsent, handled = self._row(_FIGURES)
        self.committed.reach(committed)
        self.published.reach(committed - unsent)  # a row leaves the outbox after its confirm, and not before
        self.rolled_back.reach(self.rolled_back.total + sum(1 for _ in self._rollbacks))
        for number, rate in self.handled.items():
            rate.reach(handled.get(str(number), 0))

    @property
    def handled_in_all(self) -> int:
        """Orders handled by all workers."""
        return sum(rate.total for rate in self.handled.values())

    @property
    def is_complete(self) -> bool:
        """Everything that was committed was published and handled."""
        return self.committed.total == self.published.total <= self.handled_in_all

    def has_relay(self, name: str) -> bool:
        """A relay of this name works on the outbox."""
        return any(relay.name == name for relay in status(self._opened(), Tables()).relays)

    def account(self) -> Account:
        """The final account."""
        self.read()
        handled, lost, doubled, phantom = self._row(_ACCOUNT)
        return Account(
            committed=self.committed.total,
            rolled_back=self.rolled_back.total,
            published=self.published.total,
            handled=handled,
            lost=lost,
            doubled=doubled,
            phantom=phantom,
        )

    def _opened(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            raise RuntimeError("a score is read inside its block")
        return self._connection

    def _row(self, sql: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._opened().execute(sql.encode()).fetchone()
        if row is None:
            raise RuntimeError("a SELECT without FROM has one row")
        return row

    def __enter__(self) -> Score:
        self._connection = psycopg.connect(self._database, autocommit=True, application_name="demo score")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
