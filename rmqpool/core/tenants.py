"""Which tenants have a pool, and who must give way: the decisions of a pool manager. Pure; ``now`` is passed in.

The laws, true after each event:

- pools that are there, being opened, or still used after they were discarded: at most ``max_pools``;
- a pool that somebody uses is never closed to make room; of the others the one unused for longest goes first;
- each tenant has one pool, opened by one caller; others wait for that one, and for no other tenant's;
- every pool that was opened is told to be closed once, and only once.

Not thread-safe: call it under a lock of your own, open and close pools outside of it.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from rmqpool.errors import ConfigurationError

__all__ = ["Admission", "Answer", "Place", "TenantBook"]

P = TypeVar("P")


class Admission(enum.Enum):
    """What a caller who wants a tenant's pool shall do."""

    GRANTED = "granted"
    """Use it, and release the place."""
    OPEN = "open"
    """Open it, report ``opened`` or ``open_failed``."""
    WAIT = "wait"
    """Somebody opens it: ask again when that has ended."""
    FULL = "full"
    """Every pool is in use."""
    BUSY = "busy"
    """As many as may use this tenant's pool do."""
    CLOSED = "closed"


class Place(Generic[P]):
    """A tenant's place: its pool, who uses it, since when nobody does. For the book's own use; compared by identity."""

    __slots__ = ("discarded", "pool", "since", "tenant", "users")

    def __init__(self, tenant: str, now: float) -> None:
        self.tenant = tenant
        self.pool: P | None = None
        self.users = 0
        self.since = now
        self.discarded = False


@dataclass(frozen=True, slots=True)
class Answer(Generic[P]):
    """The ``place`` of who was granted, or opens. ``close``: pools that the caller closes, outside of its lock."""

    admission: Admission
    place: Place[P] | None = None
    close: tuple[P, ...] = ()


class TenantBook(Generic[P]):
    """The book of one manager. ``max_users`` bounds who uses one tenant's pool at a time, 0 for no bound.

    Raises ConfigurationError for bounds that make no sense.
    """

    def __init__(self, max_pools: int, max_users: int = 0) -> None:
        if max_pools < 1 or max_users < 0:
            raise ConfigurationError(
                f"max_pools is {max_pools}, max_users {max_users}; give at least 1 pool, and 0 (no bound) or more users"
            )
        self.max_pools = max_pools
        self.max_users = max_users
        self.evicted = 0  # pools closed to make room, ever
        self.expired = 0  # pools closed because nobody used them, ever
        self._places: dict[str, Place[P]] = {}
        self._idle: OrderedDict[str, Place[P]] = OrderedDict()  # the first is unused for longest
        self._discarded: set[Place[P]] = set()  # used still
        self._closed = False

    @property
    def places(self) -> tuple[Place[P], ...]:
        """All that have a pool or are getting one, also those that were discarded and are used still."""
        return (*self._places.values(), *self._discarded)

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return self._closed

    def lease(self, tenant: str, now: float) -> Answer[P]:
        """Somebody wants the tenant's pool."""
        if self._closed:
            return Answer(Admission.CLOSED)
        place = self._places.get(tenant)
        if place is None:
            return self._begin(tenant, now)
        if self.max_users and place.users >= self.max_users:
            return Answer(Admission.BUSY)
        if place.pool is None:
            return Answer(Admission.WAIT)
        return self._grant(place)

    def opened(self, place: Place[P], pool: P) -> Answer[P]:
        """The pool is there; its opener uses it. CLOSED, with the pool to be closed, if the book was closed meanwhile."""
        if self._closed:
            return Answer(Admission.CLOSED, close=(pool,))
        answer = self._grant(place)
        place.pool = pool
        return answer

    def open_failed(self, place: Place[P]) -> None:
        """There is no pool: the place is free; whoever waits for it tries by itself."""
        if self._places.get(place.tenant) is place:
            del self._places[place.tenant]
        self._discarded.discard(place)

    def release(self, place: Place[P], now: float) -> tuple[P, ...]:
        """A user has gone. Returns what is to be closed: a discarded pool whose last user this was."""
        place.users -= 1
        if place.users or self._closed:
            return ()
        place.since = now
        if place.discarded:
            self._discarded.discard(place)
            return (place.pool,) if place.pool is not None else ()
        self._idle[place.tenant] = place
        return ()

    def discard(self, tenant: str) -> tuple[P, ...]:
        """The tenant's pool goes, now or when its last user has gone; whoever comes next gets a new one."""
        place = self._places.pop(tenant, None)
        if place is None:
            return ()
        place.discarded = True
        if self._idle.pop(tenant, None) is None:
            self._discarded.add(place)
            return ()
        return (place.pool,) if place.pool is not None else ()

    def expire(self, now: float, max_idle: float) -> tuple[P, ...]:
        """Pools that nobody has used for ``max_idle`` seconds: to be closed."""
        gone: list[P] = []
        while self._idle and now - next(iter(self._idle.values())).since >= max_idle:
            gone.extend(self._forget_oldest())
        self.expired += len(gone)
        return tuple(gone)

    def next_expiry(self, max_idle: float) -> float | None:
        """When :meth:`expire` finds something at the earliest; None while every pool is used."""
        return next(iter(self._idle.values())).since + max_idle if self._idle else None

    def close(self) -> tuple[P, ...]:
        """For good. Returns every pool, used or not."""
        self._closed = True
        pools = tuple(place.pool for place in self.places if place.pool is not None)
        self._places.clear()
        self._idle.clear()
        self._discarded.clear()
        return pools

    def _begin(self, tenant: str, now: float) -> Answer[P]:
        close: tuple[P, ...] = ()
        if len(self._places) + len(self._discarded) >= self.max_pools:
            if not self._idle:
                return Answer(Admission.FULL)
            close = self._forget_oldest()
            self.evicted += 1
        place = Place[P](tenant, now)
        answer = Answer(Admission.OPEN, place, close)
        self._places[tenant] = place
        return answer

    def _grant(self, place: Place[P]) -> Answer[P]:
        answer: Answer[P] = Answer(Admission.GRANTED, place)
        # No call from here on: no signal comes between these, and who is interrupted before has nothing.
        if not place.discarded and place.tenant in self._idle:  # otherwise the name is another place's
            del self._idle[place.tenant]
        place.users += 1
        return answer

    def _forget_oldest(self) -> tuple[P, ...]:
        tenant, place = self._idle.popitem(last=False)
        del self._places[tenant]
        return (place.pool,) if place.pool is not None else ()
