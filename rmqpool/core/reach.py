"""How far a relay has read, and below what it need not look any more. Pure.

Rows appear in the order in which their transactions commit, which is not that of their ids. The *floor* of a part of the
table is the highest id read there: every row above it is new. Between *low* and the floor a row may still appear, so each
reading looks there too, past what is in hand: a later row of the same key must not overtake it. Below low nothing can
appear: every transaction that was given an id up to there has ended, and the part was read after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Reach"]

Part = TypeVar("Part")


class Reach(Generic[Part]):
    """``low`` and a floor for each part. What was read is told part by part, then :meth:`settle` moves low."""

    def __init__(self) -> None:
        self.low = 0
        self._floors: dict[Part, int] = {}
        self._unread: dict[Part, bool] = {}

    def reset(self) -> None:
        """Read everything from the start again."""
        self.low = 0
        self._floors.clear()
        self._unread.clear()

    def floor(self, part: Part) -> int:
        """Up to where the part was read; never below low."""
        return max(self.low, self._floors.get(part, 0))

    def was_read(self, part: Part, last_id: int, *, to_the_end: bool) -> None:
        """The part was read up to ``last_id``; ``to_the_end``: no row above it was visible."""
        self._floors[part] = max(last_id, self.floor(part))
        self._unread[part] = not to_the_end

    def settle(self, upper: int, parts: Iterable[Part]) -> None:
        """All these parts were just read, and nobody can add a row up to ``upper`` any more: low moves up to there.

        A part that was not read to the end keeps it at its floor.
        """
        limits = [self.floor(part) for part in parts if self._unread.get(part, True)]
        self.low = max(self.low, min([upper, *limits]))
