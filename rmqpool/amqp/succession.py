"""Who moves from a retired connection to this one keeps the order of its messages: what it left behind comes first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rmqpool.amqp.io_thread import Timer
from rmqpool.amqp.link import Link
from rmqpool.window import Window

__all__ = ["Succession"]

_LOOK = 0.005  # seconds until the windows of the predecessors are looked at again


class Succession:
    """The windows that must be empty before anything is written here. A retired window takes nothing new, and each of its
    messages has a deadline, so that the wait ends.
    """

    def __init__(self, link: Link, resume: Callable[[], None]) -> None:
        self._link = link
        self._resume = resume
        self._before: deque[Window] = deque()
        self._timer: Timer | None = None

    def follow(self, window: Window) -> None:
        """Nothing that is handed over after this is written while ``window`` has messages without an outcome. Thread-safe."""
        if window.messages:
            self._before.append(window)

    def must_wait(self) -> bool:
        """True while one of them is not empty; ``resume`` is called when it is worth another look. I/O thread only."""
        while self._before and not self._before[0].messages:
            self._before.popleft()
        if self._before and self._timer is None:
            self._timer = self._link.call_later(_LOOK, self._look_again)
        return bool(self._before)

    def _look_again(self) -> None:
        self._timer = None
        self._resume()
