"""``blocked_timeout``: how long unwritten messages wait for a blocked connection. I/O thread only."""

from __future__ import annotations

from collections.abc import Callable

from rmqpool.amqp.io_thread import Timer
from rmqpool.amqp.link import Link

__all__ = ["Patience"]


class Patience:
    """Runs out ``seconds`` after the broker blocked the connection (None: never); ``on_out`` is called then."""

    def __init__(self, link: Link, seconds: float | None, on_out: Callable[[], None]) -> None:
        self._link = link
        self._seconds = seconds
        self._on_out = on_out
        self._timer: Timer | None = None
        self.is_out = False

    def begin(self) -> None:
        """The connection is blocked."""
        if self._seconds is not None and self._timer is None and not self.is_out:
            self._timer = self._link.call_later(self._seconds, self._run_out)

    def end(self) -> None:
        """It is no longer blocked, or it is gone."""
        self.is_out = False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _run_out(self) -> None:
        self._timer = None
        if self._link.blocked is not None:
            self.is_out = True
            self._on_out()
