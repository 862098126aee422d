"""What went through the proxy, in numbers that any thread may read and wait for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from rmqpool.testing.amqp_frames import Frame
from rmqpool.testing.faults import Direction

__all__ = ["Counters"]


class Counters:
    """Connections and frames, counted after the fact: a frame counts once it was written, or swallowed. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._accepted = 0
        self._open = 0
        self._passed: Counter[tuple[Direction, str]] = Counter()
        self._swallowed: Counter[tuple[Direction, str]] = Counter()

    @property
    def accepted(self) -> int:
        """Client connections accepted so far."""
        with self._changed:
            return self._accepted

    @property
    def open(self) -> int:
        """Client connections that are open now."""
        with self._changed:
            return self._open

    def frames(self, kind: str, ways: tuple[Direction, ...], *, swallowed: bool = False) -> int:
        """Frames of a kind (`any` for all) that passed, or that were swallowed, in these directions."""
        counted = self._swallowed if swallowed else self._passed
        with self._changed:
            return sum(n for (way, name), n in counted.items() if way in ways and kind in ("any", name))

    def connection_opened(self) -> None:
        with self._changed:
            self._accepted += 1
            self._open += 1
            self._changed.notify_all()

    def connection_closed(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def count(self, frames: Iterable[Frame], direction: Direction, *, swallowed: bool = False) -> None:
        """Add frames that have just been written, or swallowed."""
        counted = self._swallowed if swallowed else self._passed
        with self._changed:
            counted.update((direction, frame.kind) for frame in frames)
            self._changed.notify_all()

    def wait_for(self, reached: Callable[[], bool], timeout: float, what: Callable[[], str]) -> None:
        """Wait until `reached()`, asked at each change; after `timeout` seconds raise TimeoutError with `what()`."""
        with self._changed:
            if not self._changed.wait_for(reached, timeout):
                raise TimeoutError(f"after {timeout:g} s: {what()}")
