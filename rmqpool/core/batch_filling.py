"""When a batch is full, and when it has waited long enough. Pure: the time is passed in.

Two laws. Items leave in the order in which they came. No item waits longer than ``timeout`` seconds after the first of its
batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["BatchFilling"]

Item = TypeVar("Item")


class BatchFilling(Generic[Item]):
    """Fills batches of ``size`` items. ``timeout`` is in seconds; 0 hands over what came together. Not thread-safe."""

    def __init__(self, size: int, timeout: float) -> None:
        self._size = size
        self._timeout = timeout
        self._items: list[Item] = []
        self._due_at: float | None = None

    def __len__(self) -> int:
        """Items that wait for their batch to be full."""
        return len(self._items)

    @property
    def due_at(self) -> float | None:
        """The time at which the batch that is being filled is handed over as it is; None if there is none."""
        return self._due_at

    def add(self, items: Iterable[Item], now: float) -> list[list[Item]]:
        """Add what arrived; returns the batches that are ready, all full ones except perhaps the last."""
        self._items.extend(items)
        size, ready = self._size, []
        while len(self._items) >= size:
            ready.append(self._items[:size])
            del self._items[:size]
            self._due_at = None
        if self._items and self._due_at is None:
            self._due_at = now + self._timeout
        if due := self.take_due(now):
            ready.append(due)
        return ready

    def take_due(self, now: float) -> list[Item]:
        """The batch that has waited long enough; empty if none has."""
        return self.take_all() if self._due_at is not None and now >= self._due_at else []

    def take_all(self) -> list[Item]:
        """Whatever is there."""
        items, self._items, self._due_at = self._items, [], None
        return items
