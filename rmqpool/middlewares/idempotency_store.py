"""What was handled already, for :class:`Idempotency`: a protocol, and a store in this process's memory."""

from __future__ import annotations

import enum
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from rmqpool.errors import ConfigurationError

__all__ = ["IdempotencyStore", "InMemoryIdempotencyStore", "Known"]


class Known(enum.StrEnum):
    """What a store knows of a key."""

    NEW = "new"  # nobody handles it, and nobody has: whoever asked does now
    RUNNING = "running"  # somebody handles it just now
    HANDLED = "handled"


@runtime_checkable
class IdempotencyStore(Protocol):
    """Thread-safe. Called on handler threads, or on the event loop: it must answer at once, or the loop stands still."""

    def begin(self, key: str) -> Known:
        """What is known of ``key``; from NEW it becomes RUNNING, for one caller only."""
        ...

    def finish(self, key: str) -> None:
        """It was handled: HANDLED from now on, for as long as the store remembers."""
        ...

    def forget(self, key: str) -> None:
        """It failed, or was not done: NEW again."""
        ...


class InMemoryIdempotencyStore:
    """Remembers the last ``size`` handled keys for ``seconds``. It is this process's only, and gone with it.

    ``patience``: seconds after which a key that is RUNNING counts as NEW: its handler hangs, or was abandoned.
    About 200 bytes a key. Raises ConfigurationError. Thread-safe.
    """

    def __init__(
        self,
        size: int = 100_000,
        seconds: float = 3600.0,
        *,
        patience: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigurationError(f"InMemoryIdempotencyStore: size is {size!r}; give a number of keys, 1 or more")
        for name, value in (("seconds", seconds), ("patience", patience)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"InMemoryIdempotencyStore: {name} is {value!r}; give more than 0")
        self._size = size
        self._seconds = seconds
        self._patience = patience
        self._clock = clock
        self._running: dict[str, float] = {}  # since when; as many as handlers, at most
        self._handled: OrderedDict[str, float] = OrderedDict()  # when, the oldest first
        self._lock = threading.Lock()

    def begin(self, key: str) -> Known:
        """As the protocol says."""
        with self._lock:
            now = self._clock()
            self._drop_old(now)
            if key in self._handled:
                return Known.HANDLED
            since = self._running.get(key)
            if since is not None and now - since < self._patience:
                return Known.RUNNING
            self._running[key] = now
            return Known.NEW

    def finish(self, key: str) -> None:
        """As the protocol says."""
        with self._lock:
            now = self._clock()
            self._running.pop(key, None)
            self._handled[key] = now
            self._handled.move_to_end(key)
            self._drop_old(now)

    def forget(self, key: str) -> None:
        """As the protocol says."""
        with self._lock:
            self._running.pop(key, None)

    def __len__(self) -> int:
        """Handled keys that are remembered."""
        with self._lock:
            return len(self._handled)

    def _drop_old(self, now: float) -> None:
        handled = self._handled
        while handled and (len(handled) > self._size or now - next(iter(handled.values())) >= self._seconds):
            handled.popitem(last=False)

    def __repr__(self) -> str:
        return f"<InMemoryIdempotencyStore of {len(self)} handled keys, at most {self._size}>"
