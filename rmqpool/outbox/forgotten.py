"""Held rows whose stall is in no table: a hand has deleted it, or it was not in the copy that was restored.

Nobody would ever look for such rows. Housekeeping walks along the stalls that have held rows, a few at a time, and gives back
their place to those that have lost it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final, Protocol

from rmqpool.outbox.relay_work import AddStalls, Work

__all__ = ["Forgotten", "HeldStalls"]

_LOGGER = logging.getLogger("rmqpool.outbox.relay")
_AT_ONCE: Final = 1000  # stalls of one look; each is one step along an index
_RESTS: Final = 4  # looks that are left out after each round


class HeldStalls(Protocol):
    """Where the stalls with held rows are read."""

    @property
    def owned(self) -> Collection[int]: ...
    def held_stalls(self, after: str, limit: int) -> list[tuple[str, int, bool]]: ...


class Settler(Protocol):
    """Who runs the statements."""

    def add(self, *work: Work) -> None: ...


class Forgotten:
    """Looks at the next stalls with each :meth:`look`, and begins anew at the end. Belongs to the relay's thread."""

    def __init__(self, settling: Settler, at_once: int = _AT_ONCE) -> None:
        self._at_once = at_once
        self._settling = settling
        self._after = ""
        self._rests = 0
        self._is_asked_for = False

    def look(self, claim: HeldStalls) -> int:
        """Have what is missing in the owned lanes added; returns how many stalls that are. Raises psycopg.Error."""
        if self._is_asked_for:  # what cannot be done now is not asked for again and again
            return 0
        if self._rests > 0:
            self._rests -= 1
            return 0
        found = claim.held_stalls(self._after, self._at_once)
        self._after = found[-1][0] if len(found) == self._at_once else ""
        if not self._after:
            self._rests = _RESTS
        missing = [(stall, lane) for stall, lane, is_known in found if not is_known and lane in claim.owned]
        if missing:
            names, lanes = zip(*missing, strict=True)
            _LOGGER.warning("held rows of %d keys had lost their stalls, and are tried again", len(missing))
            self._is_asked_for = True
            self._settling.add(AddStalls(names, lanes))
        return len(missing)

    def added(self) -> None:
        """The statement has run."""
        self._is_asked_for = False
