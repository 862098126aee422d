"""Waking many threads at once without a stampede: one is woken, and each that wakes wakes the next before it goes on.

Under the GIL only one of them can run. Woken all together they would fight for it, and every one of them would be switched to
twice. What waits here has its outcome already, so nobody decides anything: this is only about when to wake.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable

__all__ = ["Sleeper", "pass_on", "wake"]

_NEXT: deque[Sleeper] = deque()


class Sleeper:
    """One thread that waits. Use it once: :meth:`sleep` in that thread, :func:`wake` in another."""

    __slots__ = ("_lock", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._lock = threading.Lock()  # held until the call; lighter than an Event
        self._lock.acquire()

    def sleep(self, timeout: float) -> bool:
        """Wait to be woken, for at most ``timeout`` seconds; False if nobody did. Then the next one is woken.

        However the wait ends, by an exception too: one who does not wait any longer never keeps the next one asleep.
        """
        try:
            return self._lock.acquire(timeout=timeout)
        finally:
            self.gone = True
            pass_on()

    def call(self) -> None:
        """Wake the thread."""
        self._lock.release()


def wake(sleepers: Iterable[Sleeper]) -> None:
    """Wake them, one after the other. Thread-safe; does not wait."""
    _NEXT.extend(sleepers)
    pass_on()


def pass_on() -> None:
    """Wake the next one, if there is one."""
    try:
        while (sleeper := _NEXT.popleft()).gone:
            pass
    except IndexError:
        return
    sleeper.call()


os.register_at_fork(after_in_child=_NEXT.clear)  # those threads are the parent's
