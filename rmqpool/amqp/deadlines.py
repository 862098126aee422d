"""One timer at the earliest deadline known, instead of one a message. I/O thread only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rmqpool.amqp.io_thread import Timer
from rmqpool.amqp.link import Link
from rmqpool.future import PublishFuture

__all__ = ["Deadlines"]

_NEVER = float("inf")


class Deadlines:
    """Calls ``on_due`` when a watched deadline has passed; whoever is still waiting then is to be watched again."""

    def __init__(self, link: Link, on_due: Callable[[], None]) -> None:
        self._link = link
        self._on_due = on_due
        self._timer: Timer | None = None
        self._at = _NEVER

    def watch(self, futures: Iterable[PublishFuture]) -> None:
        """Fire at the earliest of these deadlines, unless it fires earlier anyway."""
        self.watch_at(min((future.due for future in futures), default=_NEVER))

    def watch_at(self, earliest: float) -> None:
        """Fire at ``earliest`` (monotonic), unless it fires earlier anyway."""
        if earliest >= self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = earliest
        self._timer = self._link.call_later(earliest - time.monotonic(), self._fire)

    def _fire(self) -> None:
        self._timer, self._at = None, _NEVER
        self._on_due()
