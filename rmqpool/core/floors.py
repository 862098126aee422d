"""How far a relay has read, in each part of the table that it reads in order of id. Pure: the time is passed in.

A floor is an optimisation and never the truth: a row whose transaction commits late lies below it. So each reading
begins at the floor of a moment ago (rows that are in hand are recognised), and a sweep looks below it now and then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Floors"]

Part = TypeVar("Part")


class Floors(Generic[Part]):
    """The highest id read in each part. ``lag`` is how many seconds the trailing floors are behind."""

    def __init__(self, lag: float) -> None:
        self._lag = lag
        self._highest: dict[Part, int] = {}
        self._trailing: dict[Part, int] = {}
        self._snapshots: deque[tuple[float, dict[Part, int]]] = deque()

    def reset(self, parts: Iterable[Part] | None = None) -> None:
        """Read these parts from the start again; None: all of them."""
        gone = set(self._highest) if parts is None else set(parts)
        for floors in (self._highest, self._trailing, *(one for _, one in self._snapshots)):
            for part in gone:
                floors.pop(part, None)

    def advance(self, part: Part, row_id: int) -> None:
        """A row of the part was read, and every row below it that was visible then."""
        if row_id > self._highest.get(part, 0):
            self._highest[part] = row_id

    def highest(self, part: Part) -> int:
        """Up to where the part was read; 0 before the first row."""
        return self._highest.get(part, 0)

    def trailing(self, part: Part, now: float) -> int:
        """Up to where the part was read ``lag`` seconds ago, or before that; never above :meth:`highest`."""
        while self._snapshots and self._snapshots[0][0] <= now - self._lag:
            self._trailing = self._snapshots.popleft()[1]
        return min(self._trailing.get(part, 0), self.highest(part))

    def tick(self, now: float) -> None:
        """Remember the floors of now. Cheap when nothing changed, or when the last time was only just."""
        if self._snapshots and now - self._snapshots[-1][0] < self._lag / 4:
            return
        self._snapshots.append((now, dict(self._highest)))
