"""How much may be on its way at once: a bound in messages and bytes. Thread-safe; every wait has a deadline."""

from __future__ import annotations

import threading
import time
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
        self._on_space: list[Callable[[], None]] = []
        self._closed = False

    @property
    def messages(self) -> int:
        """Messages without an outcome."""
        return self._messages

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
            listeners, self._on_space = self._on_space, []
        for listener in listeners:
            listener()

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

    def close(self) -> None:
        """Nobody waits any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            listeners, self._on_space = self._on_space, []
        for listener in listeners:
            listener()

    def _enter_if_fits(self, size: int) -> bool:
        if self._closed or not self._fits(size):
            return False
        self._messages += 1
        self._bytes += size
        return True
