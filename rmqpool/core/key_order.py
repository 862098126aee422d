"""Order by key: of each key one item is in hand at a time, in the order of arrival. Different keys do not wait for each other.

Three laws. Two items of one key are never in hand at once. An item is in hand as soon as no earlier one of its key is. Nothing
is kept of a key that has no items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["KeyOrder"]

Item = TypeVar("Item")


class KeyOrder(Generic[Item]):
    """Tells which items may begin. Not thread-safe."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, deque[Item]] = {}  # a key that is there has an item in hand; these wait behind it
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Items that wait for an earlier one of their key."""
        return self._waiting

    @property
    def in_hand(self) -> int:
        """Items that have begun and not ended: as many as there are keys."""
        return len(self._lanes)

    def arrive(self, key: Hashable, item: Item) -> bool:
        """True if the item may begin now; otherwise it is kept until :meth:`end` returns it.

        Raises what hashing or comparing the key raises; nothing has changed then.
        """
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = deque()
            return True
        lane.append(item)
        self._waiting += 1
        return False

    def end(self, key: Hashable) -> Item | None:
        """The item of ``key`` that was in hand has ended; returns the next one, which begins now. None: there is none."""
        lane = self._lanes[key]
        if not lane:
            del self._lanes[key]
            return None
        self._waiting -= 1
        return lane.popleft()

    def take_waiting(self) -> list[Item]:
        """Everything that waits, and it waits no more. What is in hand stays so."""
        taken = [item for lane in self._lanes.values() for item in lane]
        for lane in self._lanes.values():
            lane.clear()
        self._waiting = 0
        return taken
