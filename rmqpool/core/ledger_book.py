"""The state of a ledger, and all that can be read from it. Nothing here changes it; ``rmqpool.core.ledger`` does.

Not thread-safe: read it under the lock under which the ledger is called.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from rmqpool.core.histogram import Gathering, Times
from rmqpool.core.ledger_values import Lease, Snapshot, Totals
from rmqpool.errors import ConfigurationError

__all__ = ["GATHERED", "Book", "Entry", "check_sizes"]

R = TypeVar("R", bound=Hashable)
W = TypeVar("W", bound=Hashable)

GATHERED = 96  # use times that are taken into the histogram at once; Python keeps room for 100 floats


@dataclass(slots=True)
class Entry(Generic[R]):
    """A resource that is idle or leased. For the ledger's own use; times are seconds of the caller's clock."""

    resource: R
    generation: int
    retire_at: float
    since: float  # when it became idle, or when it was leased
    proved: float  # when it was last known to be good: opened, checked, or given back by a holder
    holder: Any = None  # the waiter, while it is leased


class Book(Generic[R, W]):
    """What is true of one pool now: the figures of a ``Ledger``, whose base this is. For the arguments see there."""

    def __init__(
        self,
        capacity: int,
        max_waiting: int = 0,
        minimum: int = 0,
        max_opening: int = 0,
        *,
        order: str = "lifo",
        keep_idle: bool = True,
        check_after: float = math.inf,
    ) -> None:
        check_sizes(capacity, minimum, keep_idle)
        if order not in ("lifo", "fifo"):
            raise ConfigurationError(f'pool: order is {order!r}; give "lifo" or "fifo"')
        if max_waiting < 0 or max_opening < 0:
            raise ConfigurationError(
                f"pool: max_waiting is {max_waiting}, max_opening is {max_opening}; give 0 (no limit) or more"
            )
        self._capacity = capacity
        self._minimum = minimum
        self._max_waiting = max_waiting
        self._max_opening = max_opening
        self._lifo = order == "lifo"
        self._keep_idle = keep_idle
        self._check_after = check_after
        self._entries: dict[R, Entry[R]] = {}  # idle, leased and tended
        self._idle: OrderedDict[R, Entry[R]] = OrderedDict()  # the last one is the one used last
        self._tended: dict[R, Entry[R]] = {}
        self._leases: OrderedDict[W, Entry[R]] = OrderedDict()
        self._waiting: OrderedDict[W, float] = OrderedDict()
        self._dead_leases: set[W] = set()  # their resource was lost; their release is still to come
        self._opening = 0
        self._generation = 0
        self._closed = False
        self._failures_in_a_row = 0
        self._last_open_error: BaseException | None = None
        self._totals = Totals()
        self._taken = 0  # granted by ``take``
        self._uses = Gathering()
        self._fresh_uses = self._uses.fresh

    def __repr__(self) -> str:
        return (
            f"<Ledger {len(self._entries)}/{self._capacity} open: {self.leased} leased, {self.idle} idle;"
            f" {self._opening} opening, {self.waiting} waiting, generation {self._generation}"
            f"{', closed' if self._closed else ''}>"
        )

    @property
    def capacity(self) -> int:
        """The most resources at a time."""
        return self._capacity

    @property
    def minimum(self) -> int:
        """How many are kept open without any waiter."""
        return self._minimum

    @property
    def size(self) -> int:
        """Resources that are open: leased, idle and tended."""
        return len(self._entries)

    @property
    def leased(self) -> int:
        """Resources that are held, lost ones not counted."""
        return len(self._leases)

    @property
    def idle(self) -> int:
        """Resources that are open and unused."""
        return len(self._idle)

    @property
    def tending(self) -> int:
        """Resources that the pool itself checks or resets."""
        return len(self._tended)

    @property
    def opening(self) -> int:
        """Opens that were asked for and have not been reported yet."""
        return self._opening

    @property
    def waiting(self) -> int:
        """Waiters without a decision."""
        return len(self._waiting)

    @property
    def generation(self) -> int:
        """How often ``drain`` was called. Pass it to ``opened`` as it was when the open began."""
        return self._generation

    @property
    def closed(self) -> bool:
        """True after ``close``."""
        return self._closed

    @property
    def settled(self) -> bool:
        """True when the ledger is closed, and nothing is held or being opened any more."""
        return self._closed and not (self._entries or self._dead_leases or self._opening)

    @property
    def failures_in_a_row(self) -> int:
        """Opens that failed since the last one that succeeded: the attempt number for a backoff."""
        return self._failures_in_a_row

    @property
    def last_open_error(self) -> BaseException | None:
        """The error of the last failed open, kept after later successes."""
        return self._last_open_error

    @property
    def surplus_opening(self) -> int:
        """Opens that nobody needs any more: a delayed one may be withdrawn instead of started."""
        return self._opening if self._closed else max(0, self._opening - self._wanted_opens())

    def held_by(self, waiter: W) -> R | None:
        """The living resource that the waiter holds, or None."""
        entry = self._leases.get(waiter)
        return None if entry is None else entry.resource

    def knows(self, resource: R) -> bool:
        """True while the resource is idle, leased or tended."""
        return resource in self._entries

    def tends(self, resource: R) -> bool:
        """True while the resource is checked or reset."""
        return resource in self._tended

    def holder_of(self, resource: R) -> W | None:
        """The waiter that holds the resource, or None."""
        entry = self._entries.get(resource)
        return None if entry is None else entry.holder

    def held_for(self, waiter: W, now: float) -> float:
        """For how many seconds the waiter holds its resource; 0.0 when it holds none."""
        entry = self._leases.get(waiter)
        return 0.0 if entry is None else now - entry.since

    def leases(self, now: float) -> tuple[Lease[R, W], ...]:
        """Who holds what for how long, the oldest lease first."""
        return tuple(Lease(waiter, entry.resource, now - entry.since) for waiter, entry in self._leases.items())

    def oldest_lease(self, now: float) -> float:
        """For how many seconds the oldest lease is held; 0.0 when there is none."""
        return now - next(iter(self._leases.values())).since if self._leases else 0.0

    def oldest_waiter(self, now: float) -> float:
        """For how many seconds the first in the queue waits; 0.0 when nobody waits."""
        return now - next(iter(self._waiting.values())) if self._waiting else 0.0

    def use_time(self) -> Times:
        """How long resources were held, lost ones not counted."""
        return self._uses.times()

    def snapshot(self, now: float) -> Snapshot:
        """All figures of this moment."""
        return Snapshot(
            capacity=self._capacity,
            minimum=self._minimum,
            max_waiting=self._max_waiting,
            leased=self.leased,
            idle=self.idle,
            tended=len(self._tended),
            opening=self._opening,
            waiting=self.waiting,
            generation=self._generation,
            closed=self._closed,
            oldest_lease=self.oldest_lease(now),
            oldest_waiter=self.oldest_waiter(now),
            failures_in_a_row=self._failures_in_a_row,
            last_open_error=self._last_open_error,
            totals=replace(
                self._totals,
                granted=self._totals.granted + self._taken,
                taken=self._taken,
                used_seconds=self.use_time().total,
            ),
        )

    @property
    def _size(self) -> int:
        return len(self._entries) + self._opening

    def _look_for_idle(self, now: float) -> tuple[list[Entry[R]], Entry[R] | None]:
        """The idle ones whose lifetime is over, and the one to lend without a check, if there is one and nobody waits."""
        outlived: list[Entry[R]] = []
        for entry in reversed(self._idle.values()) if self._lifo else self._idle.values():
            if now >= entry.retire_at:
                outlived.append(entry)
            elif not self._waiting and now - entry.proved < self._check_after:
                return outlived, entry
        return outlived, None

    def _fit(self, entry: Entry[R], now: float) -> bool:
        current = not self._closed and entry.generation == self._generation
        return current and now < entry.retire_at and len(self._entries) + self._opening <= self._capacity

    def _wanted_opens(self) -> int:
        """How many should be opening: one for each waiter for whom none is tended, and what the minimum lacks."""
        return max(len(self._waiting) - len(self._tended), self._minimum - len(self._entries))

    def _missing_opens(self) -> int:
        room = self._capacity - len(self._entries) - self._opening
        if self._closed or room <= 0 or not (self._waiting or len(self._entries) < self._minimum):
            return 0
        limit = max(self._max_opening or self._capacity, self._minimum - len(self._entries))
        return max(0, min(self._wanted_opens(), limit, self._capacity - len(self._entries)) - self._opening)


def check_sizes(capacity: int, minimum: int, keep_idle: bool = True) -> None:
    """Raises ConfigurationError unless 1 <= capacity and 0 <= minimum <= capacity; 0 where nothing is kept idle."""
    for name, size in (("max_size", capacity), ("min_size", minimum)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise ConfigurationError(f"{name} is {size!r}; give a whole number")
    if capacity < 1:
        raise ConfigurationError(f"max_size is {capacity}; give at least 1")
    if not 0 <= minimum <= capacity:
        raise ConfigurationError(f"min_size is {minimum}, max_size {capacity}; give a minimum from 0 to the maximum")
    if minimum and not keep_idle:
        raise ConfigurationError(f"min_size is {minimum}, but nothing is kept idle; give 0, or keep_idle=True")
