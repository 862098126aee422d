"""Keys that fail stall alone: when each is tried again, and when its first row is given up. Pure: time is passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rmqpool.core.backoff import Backoff

__all__ = ["Stall", "Stalls"]


@dataclass(slots=True)
class Stall:
    """One key that stalls. ``next_at`` is monotonic, in seconds; ``busy`` counts its rows that are in hand.

    ``unwritten`` counts statements about it that have not run yet: until then the table does not know what is known here.
    """

    name: str
    lane: int
    attempts: int
    next_at: float
    busy: int = 0
    unwritten: int = 0
    flows: bool = False  # its last row was confirmed: the rest may leave many at a time


class Stalls:
    """The stalled keys of the lanes that a relay owns. ``max_attempts`` fail before a row is given up."""

    def __init__(self, backoff: Backoff, max_attempts: int) -> None:
        self._backoff = backoff
        self._max_attempts = max_attempts
        self._stalls: dict[str, Stall] = {}

    @property
    def names(self) -> Collection[str]:
        """What stalls now."""
        return self._stalls.keys()

    def __len__(self) -> int:
        return len(self._stalls)

    def get(self, name: str) -> Stall | None:
        """The stall of that name."""
        return self._stalls.get(name)

    def failed(self, name: str, lane: int, now: float, random: float) -> tuple[Stall, bool]:
        """A row failed. True: it is given up, and the next one of its key may leave at once."""
        stall = self._stalls.get(name)
        if stall is None:
            stall = self._stalls[name] = Stall(name, lane, 0, now)
        stall.flows = False
        stall.attempts += 1
        if stall.attempts >= self._max_attempts:
            stall.attempts, stall.next_at = 0, now
            return stall, True
        # Half of the ceiling at least: a failing key does not come back at once, and keys do not come back together.
        ceiling = self._backoff.ceiling(stall.attempts)
        stall.next_at = max(stall.next_at, now + ceiling * (0.5 + random / 2))
        return stall, False

    def confirmed(self, name: str, now: float) -> None:
        """A held row of the key was confirmed: the rest follows at once."""
        stall = self._stalls.get(name)
        if stall is not None:
            stall.attempts, stall.flows, stall.next_at = 0, True, now

    def due(self, now: float) -> list[Stall]:
        """Those to be tried now, none of whose rows are in hand."""
        return [stall for stall in self._stalls.values() if not stall.busy and stall.next_at <= now]

    def next_due(self) -> float | None:
        """When the next one is due; None if none waits."""
        return min((stall.next_at for stall in self._stalls.values() if not stall.busy), default=None)

    def writing(self, names: Iterable[str]) -> None:
        """A statement about each of these is to run."""
        for name in names:
            stall = self._stalls.get(name)
            if stall is not None:
                stall.unwritten += 1

    def written(self, names: Iterable[str]) -> None:
        """It has run."""
        for name in names:
            stall = self._stalls.get(name)
            if stall is not None:
                stall.unwritten = max(0, stall.unwritten - 1)

    def over(self, name: str) -> None:
        """No row of the key is held any more: it flows through the hot table again."""
        self._stalls.pop(name, None)

    def learn(self, known: Iterable[tuple[str, int, int, float]], now: float) -> None:
        """What the table says of the owned lanes: name, lane, attempts, seconds until the next one.

        The table wins for those that are idle here, and written: somebody may have asked for another attempt right now.
        ``known`` is all that it knows: what it does not name is over.
        """
        known = list(known)
        named = {name for name, *_ in known}
        for one in list(self._stalls.values()):
            if one.name not in named and not one.busy and not one.unwritten:
                del self._stalls[one.name]
        for name, lane, attempts, seconds in known:
            stall = self._stalls.get(name)
            if stall is None:
                self._stalls[name] = Stall(name, lane, attempts, now + seconds)
            elif not stall.busy and not stall.unwritten and now + seconds < stall.next_at:
                stall.next_at, stall.attempts = now + seconds, attempts

    def forget(self, lanes: Collection[int] | None = None) -> None:
        """The lanes are somebody else's now; None: all of them.

        What is not written yet stays: if the lane comes back, later rows of the key must not overtake those being held.
        """
        gone = [stall for stall in self._stalls.values() if lanes is None or stall.lane in lanes]
        for stall in gone:
            if stall.unwritten:
                stall.busy, stall.flows = 0, False
            else:
                del self._stalls[stall.name]
