"""A lease on writing: messages that are to keep their order are written while it lasts, and then none of them any more."""

from __future__ import annotations

import math

__all__ = ["Lease"]


class Lease:
    """Until when messages may be written: ``end`` is monotonic, in seconds. Whoever gave it to them may prolong it.

    Messages with one lease keep their order: as long as it lasts each may be written, and then none of them any more. It
    breaks when a connection is lost.
    """

    __slots__ = ("end", "is_broken")

    def __init__(self, end: float) -> None:
        self.end = end
        self.is_broken = False

    def break_off(self) -> None:
        """A connection was lost: what was written is unknown, and nothing that comes after it may be written before that
        is known. For good.
        """
        self.is_broken = True
        self.end = -math.inf
