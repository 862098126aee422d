"""How much may be on its way at once: a bound in messages and bytes. Thread-safe; every wait has a deadline."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

__all__ = ["Window"]


class Window:
    """Counts what was taken in and has no outcome yet. A message larger than the byte bound is let in alone."""

    def __init__(self, messages: int, size: int) -> None:
        self._changed = threading.Condition()
        self._max_messages = messages
        self._max_bytes = size
        self._messages = 0
        self._bytes = 0
        self._waiting = 0
        self._on_space: deque[Callable[[], None]] = deque()
        self._closed = False

    @property
    def messages(self) -> int:
        """Messages without an outcome."""
        return self._messages

    @property
    def closed(self) -> bool:
        """True when nothing more is let in."""
        return self._closed

    def _fits(self, size: int) -> bool:
        if self._messages == 0:
            return True
        return self._messages < self._max_messages and self._bytes + size <= self._max_bytes

    def try_enter(self, size: int) -> bool:
        """Take ``size`` bytes in if there is room now."""
        with self._changed:
            return self._enter_if_fits(size)

    def enter(self, size: int, deadline: float) -> bool:
        """Take ``size`` bytes in, waiting for room until ``deadline`` (monotonic); False if there was none by then."""
        with self._changed:
            while not self._enter_if_fits(size):
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._closed:
                    return False
                self._waiting += 1
                try:
                    self._changed.wait(remaining)
                finally:
                    self._waiting -= 1
            return True

    def leave(self, messages: int, size: int) -> None:
        """``messages`` with ``size`` bytes together have their outcome."""
        with self._changed:
            self._messages -= messages
            self._bytes -= size
            if self._waiting:
                self._changed.notify_all()
            listeners = self._listeners_to_wake(messages)
        for listener in listeners:
            listener()

    def _listeners_to_wake(self, messages: int) -> list[Callable[[], None]]:
        """As many as have left, longest waiting first; all when nothing is left that could wake the others later."""
        if not self._on_space:
            return []
        count = len(self._on_space) if self._messages == 0 else min(messages, len(self._on_space))
        return [self._on_space.popleft() for _ in range(count)]

    def call_on_space(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` once as soon as something leaves (at once if there is room): for event loops."""
        with self._changed:
            if self._messages and not self._closed:
                self._on_space.append(listener)
                return
        listener()

    def wait_empty(self, deadline: float) -> bool:
        """Wait until nothing is on its way; False if something still is at ``deadline`` (monotonic)."""
        with self._changed:
            return self._wait_empty(deadline)

    def close_when_empty(self, deadline: float) -> bool:
        """Wait as :meth:`wait_empty` does, then close in the same step: nothing slips in between."""
        with self._changed:
            empty = self._wait_empty(deadline)
            self._closed = True
        self.close()
        return empty

    def close_if_empty(self) -> bool:
        """Close if nothing is on its way at this moment; False, and nothing changes, if something is."""
        with self._changed:
            if self._messages:
                return False
            self._closed = True
        self.close()
        return True

    def close(self) -> None:
        """Nobody waits any longer, and nothing more is let in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            listeners = list(self._on_space)
            self._on_space.clear()
        for listener in listeners:
            listener()

    def _wait_empty(self, deadline: float) -> bool:
        while self._messages:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._waiting += 1
            try:
                self._changed.wait(remaining)
            finally:
                self._waiting -= 1
        return True

    def _enter_if_fits(self, size: int) -> bool:
        if self._closed or not self._fits(size):
            return False
        self._messages += 1
        self._bytes += size
        return True
