"""Who holds what, and who waits: every decision of a resource pool is taken here, and nothing is done here.

Events go in, a ``Decision`` comes out, and the caller acts on it: it wakes waiters, opens and closes resources. Pure:
no thread, clock or I/O; ``now`` is passed in as seconds of a monotonic clock. Not thread-safe: the caller reads the
clock and calls the ledger under its own lock, and acts on the decision after it has left the lock.

The laws, true after each event:

- leased + idle + tended + opening <= capacity (after a resize downwards: it only shrinks, as resources come back);
- a resource is in one state: idle, leased to one waiter, or tended (the pool itself checks or resets it);
- who waits is served strictly first in, first out, by direct hand-off;
- nobody waits while a resource is idle, but for one that is being checked because it was unused for ``check_after``;
- nobody waits while there is room to open one that nobody has asked for, unless one is being tended for him;
- a failed open, a lost or a broken resource gives its room back at once; nothing is granted after close.

The semantics are those of psycopg_pool (waiting clients, drain, resize, max_waiting), with httpcore's split of deciding
and acting. A discarded resource leaves the count at once: where the server's own limit is tight, close before opening.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, TypeVar

from rmqpool.core.ledger_book import GATHERED, Book, Entry, check_sizes
from rmqpool.core.ledger_values import Abandoned, AbandonOutcome, Decision, Grant, Lease, Refusal, Snapshot, Totals
from rmqpool.errors import LeaseReleasedError

__all__ = ["AbandonOutcome", "Abandoned", "Decision", "Grant", "Lease", "Ledger", "Refusal", "Snapshot", "Totals"]

R = TypeVar("R", bound=Hashable)
W = TypeVar("W", bound=Hashable)

_NOTHING: Decision[Any, Any] = Decision()


class Ledger(Book[R, W]):
    """The book of one pool: resources of type R, waiters of type W (both hashable, compared by equality).

    A waiter is a token for one acquire: a new one each time, the key of its lease afterwards. That is why a late or
    double release can never take a resource away from its next holder.

    ``capacity``: most resources at a time. ``max_waiting``: most waiters, 0 for no limit. ``minimum``: resources kept
    open without any waiter; ``fill`` asks for the first ones. ``max_opening``: most opens at a time above the minimum
    (1: growth one at a time), 0 for no limit. ``order``: "lifo" takes the idle resource that was used last, "fifo" the
    one unused for longest. ``keep_idle`` False keeps nothing idle: what nobody waits for is discarded. ``check_after``:
    an idle resource that nobody has proved for that many seconds is checked before it is granted.
    Raises ConfigurationError when they are out of range. Not thread-safe. Figures: see the base, ``Book``.
    """

    # Events of the borrowers.

    def acquire(self, waiter: W, now: float) -> Decision[R, W]:
        """Someone wants a resource: granted at once, refused at once, or waiting for a later decision.

        An idle resource that needs a check is put into the decision's ``check``, and the waiter waits for whatever is
        free first. Raises ValueError when the token is in use.
        """
        if waiter in self._waiting or waiter in self._leases or waiter in self._dead_leases:
            raise ValueError(f"waiter {waiter!r} is in use; make a new token for each acquire")
        if self._closed:
            return self._decide(refuse=((waiter, Refusal.CLOSED),))
        if self._max_waiting and len(self._waiting) >= self._max_waiting:  # and so nothing is idle
            return self._decide(refuse=((waiter, Refusal.TOO_MANY_WAITING),))
        outlived, fresh = self._look_for_idle(now) if self._idle else ([], None)
        discard = tuple(self._forget(entry) for entry in outlived)
        if fresh is None:
            self._waiting[waiter] = now
            return self._decide(discard=discard)
        del self._idle[fresh.resource]
        return self._decide((self._lend(fresh, waiter, now),), discard=discard)

    def take(self, waiter: W, now: float) -> R | None:
        """The shortest way of ``acquire``: lends an idle resource that needs no check, when nobody waits.

        None says that nothing has changed, and that ``acquire`` has to decide. The token must be new: that is not
        looked at here.
        """
        if self._waiting or not self._idle:
            return None
        resource, entry = self._idle.popitem(self._lifo)
        if now >= entry.retire_at or now - entry.proved >= self._check_after:
            self._idle[resource] = entry
            self._idle.move_to_end(resource, self._lifo)
            return None
        entry.holder = waiter
        entry.since = now
        self._leases[waiter] = entry
        self._taken += 1
        return resource

    def give(self, waiter: W, now: float) -> bool:
        """The shortest way of ``release``: keeps a resource idle, when nobody waits and it may stay.

        False says that nothing has changed, and that ``release`` has to decide.
        """
        entry = self._leases.get(waiter)
        if entry is None or self._waiting or not self._keep_idle or not self._fit(entry, now):
            return False
        del self._leases[waiter]
        used = self._fresh_uses
        used.append(now - entry.since)
        if len(used) >= GATHERED:
            self._uses.sort_in()
        entry.holder = None
        entry.since = entry.proved = now
        self._idle[entry.resource] = entry
        return True

    def pass_on(self, waiter: W, now: float) -> W | None:
        """The shortest way of ``release`` when somebody waits: who waits longest holds the resource now, and is the answer.

        None says that nothing has changed, and that ``release`` has to decide.
        """
        entry = self._leases.get(waiter)
        if entry is None or not self._waiting or not self._fit(entry, now):
            return None
        self._uses.add(now - entry.since)
        following = next(iter(self._waiting))
        del self._leases[waiter]
        entry.holder = following
        entry.since = entry.proved = now
        self._leases[following] = entry
        del self._waiting[following]  # last: broken off before, it is in the book in any case
        self._totals.granted += 1
        return following

    def release(self, waiter: W, now: float, reusable: bool = True) -> Decision[R, W]:
        """The holder gives its resource back: handed to who waits longest, kept idle, or discarded.

        ``reusable`` False discards it. Does nothing when the resource was reported lost meanwhile. Raises
        LeaseReleasedError when the waiter holds nothing (released or abandoned already).
        """
        if waiter in self._dead_leases:
            self._dead_leases.remove(waiter)
            return _NOTHING
        entry = self._leases.pop(waiter, None)
        if entry is None:
            raise LeaseReleasedError(f"{waiter!r} holds nothing: released already? Release each lease exactly once.")
        self._uses.add(now - entry.since)
        entry.since = now
        return self._place(entry, now, reusable)

    def release_to_tend(self, waiter: W, now: float) -> R | None:
        """The holder gives its resource back, and the pool resets or checks it before anybody else has it.

        The answer is the resource: report what became of it with ``tended``. None: it was reported lost meanwhile.
        Raises LeaseReleasedError as ``release``.
        """
        if waiter in self._dead_leases:
            self._dead_leases.remove(waiter)
            return None
        entry = self._leases.pop(waiter, None)
        if entry is None:
            raise LeaseReleasedError(f"{waiter!r} holds nothing: released already? Release each lease exactly once.")
        self._uses.add(now - entry.since)
        entry.holder = None
        entry.since = now
        self._tended[entry.resource] = entry
        return entry.resource

    def abandon(self, waiter: W, now: float, *, cancelled: bool = False) -> Abandoned[R, W]:
        """The caller of ``acquire`` stopped waiting (timeout, or ``cancelled``) and looks for no grant any more.

        A grant may have been decided in the same moment: then it goes back as good as it was, to the next waiter if
        there is one. To use such a late grant instead, look at ``held_by(waiter)`` first, under the same lock.
        Never raises.
        """
        if self._waiting.pop(waiter, None) is not None:
            if cancelled:
                self._totals.cancelled += 1
            else:
                self._totals.timed_out += 1
                self._totals.away += self._failures_in_a_row > 0
            return Abandoned(AbandonOutcome.WITHDRAWN, _NOTHING)
        entry = self._leases.pop(waiter, None)
        if entry is None:
            self._dead_leases.discard(waiter)
            return Abandoned(AbandonOutcome.GONE, _NOTHING)
        self._totals.given_back += 1
        entry.since = now
        return Abandoned(AbandonOutcome.GIVEN_BACK, self._place(entry, now))

    # Events of the resources.

    def opened(
        self, resource: R, now: float, *, generation: int | None = None, lifetime: float = math.inf
    ) -> Decision[R, W]:
        """An open that was asked for succeeded: to who waits longest, else idle; discarded when no longer wanted.

        ``generation`` is the ledger's at the moment when the open began (default: the present one); older ones are
        discarded. ``lifetime`` in seconds: once it is over, the resource is discarded when it comes back or is idle
        (add jitter, so that not all end together). Raises ValueError when the resource is in the ledger already, no
        open was asked for, or the lifetime is not above 0; then nothing has changed.
        """
        if resource in self._entries:
            raise ValueError(f"resource {resource!r} is in the ledger already; report each open exactly once")
        if not lifetime > 0:
            raise ValueError(f"lifetime is {lifetime!r}; give seconds above 0")
        self._end_open()
        self._failures_in_a_row = 0
        self._totals.opened += 1
        born = self._generation if generation is None else generation
        entry = Entry(resource, born, now + lifetime, now, now)
        self._entries[resource] = entry
        return self._place(entry, now)

    def open_failed(self, error: BaseException) -> Decision[R, W]:
        """An open that was asked for failed. Asks for another one if it is still needed.

        The caller delays that by a backoff, with ``failures_in_a_row`` as the attempt. Raises ValueError when no open
        was asked for.
        """
        self._end_open()
        self._failures_in_a_row += 1
        self._totals.open_failures += 1
        self._last_open_error = error
        return self._decide()

    def open_withdrawn(self) -> Decision[R, W]:
        """An open that was asked for will not be tried: the pool is closing, or ``surplus_opening`` said so.

        Counts as no failure. Raises ValueError when no open was asked for.
        """
        self._end_open()
        return self._decide()

    def lost(self, resource: R) -> Decision[R, W]:
        """A resource died, leased or idle: its room is free at once. Its holder's release, still to come, does nothing.

        An unknown resource is no error: it may have been discarded in the same moment.
        """
        entry = self._entries.get(resource)
        if entry is None:
            return _NOTHING
        found = self._idle.pop(resource, None) or self._tended.pop(resource, None)
        if found is None and self._leases.pop(entry.holder, None) is not None:  # no state: a step was just interrupted
            self._dead_leases.add(entry.holder)
        del self._entries[resource]
        self._totals.lost += 1
        return self._decide()

    def tend_idle(self, resource: R) -> bool:
        """The pool itself takes an idle resource, to check it; report what became of it with ``tended``.

        False when it is not idle any more: somebody has it, or it is gone.
        """
        entry = self._idle.pop(resource, None)
        if entry is None:
            return False
        self._tended[resource] = entry
        return True

    def tended(self, resource: R, now: float, good: bool) -> Decision[R, W]:
        """A check or a reset has ended: to who waits longest, else idle; discarded when not ``good``.

        An unknown resource is no error: it may have been reported lost meanwhile.
        """
        entry = self._tended.pop(resource, None)
        if entry is None:
            return _NOTHING
        if not good:
            self._totals.failed_checks += 1
        return self._place(entry, now, good)

    def mend(self, now: float) -> list[Decision[R, W]]:
        """An event was broken off in the middle, as by a signal handler: places anew what is in no state."""
        strays = []
        for resource, entry in self._entries.items():
            if self._leases.get(entry.holder) is entry:
                self._totals.granted += self._waiting.pop(entry.holder, None) is not None  # it was not counted yet
            elif resource not in self._idle and resource not in self._tended:
                strays.append(entry)
        return [self._place(entry, now) for entry in strays]

    # Events of the owner.

    def fill(self) -> Decision[R, W]:
        """Asks for the opens that the minimum needs; to be called once after the ledger was made."""
        return self._decide()

    def resize(self, capacity: int, minimum: int | None = None) -> Decision[R, W]:
        """Changes the sizes. Surplus idle resources are discarded, the longest unused first; leased ones on return.

        Raises ConfigurationError when they are out of range; then nothing has changed.
        """
        minimum = self._minimum if minimum is None else minimum
        check_sizes(capacity, minimum, self._keep_idle)
        self._capacity, self._minimum = capacity, minimum
        surplus = min(len(self._idle), max(0, self._size - capacity))
        return self._decide(discard=tuple(self._forget_oldest() for _ in range(surplus)))

    def drain(self) -> Decision[R, W]:
        """Replaces everything: starts a new generation, and discards what is idle now, and all else of the older ones
        when it comes back or finishes opening. Waiters go on waiting."""
        self._generation += 1
        return self._decide(discard=self._forget_all_idle())

    def expire(self, now: float, max_idle: float = math.inf) -> Decision[R, W]:
        """Discards idle resources whose lifetime is over, and those unused for ``max_idle`` seconds that the minimum
        does not need. To be called from time to time."""
        outlived = [entry for entry in self._idle.values() if entry.retire_at <= now]
        discard = [self._forget(entry) for entry in outlived]
        while self._idle and self._size > self._minimum:
            if now - next(iter(self._idle.values())).since < max_idle:
                break
            discard.append(self._forget_oldest())
        return self._decide(discard=tuple(discard))

    def fail_waiting(self) -> Decision[R, W]:
        """Refuses all who wait now: an open failed for a reason that another try cannot change. The ledger goes on."""
        return self._decide(refuse=self._refuse_all(Refusal.OPEN_FAILED))

    def close(self) -> Decision[R, W]:
        """For good: all who wait are refused, idle resources discarded; the rest is discarded as it comes back.

        Safe to call again. ``settled`` tells when all is back; ``leases`` names who is late (report those resources as
        ``lost`` once they were closed by force).
        """
        self._closed = True
        return self._decide(refuse=self._refuse_all(Refusal.CLOSED), discard=self._forget_all_idle())

    # The rules. Each decision goes through _decide, so the opens are computed at one place.

    def _decide(
        self,
        grants: tuple[Grant[R, W], ...] = (),
        refuse: tuple[tuple[W, Refusal], ...] = (),
        discard: tuple[R, ...] = (),
    ) -> Decision[R, W]:
        self._totals.granted += len(grants)
        self._totals.refused += len(refuse)
        self._totals.away += len(refuse) if self._failures_in_a_row else 0
        self._totals.discarded += len(discard)
        check = self._missing_checks() if self._idle and self._waiting else ()
        opens = self._missing_opens()
        self._opening += opens
        if not (grants or refuse or discard or check or opens):
            return _NOTHING
        return Decision(grants, refuse, discard, opens, check)

    def _missing_checks(self) -> tuple[R, ...]:
        """Who waits although something is idle waits for a check: one for each waiter."""
        found: list[R] = []
        while self._idle and len(self._waiting) > len(self._tended):
            resource, entry = self._idle.popitem(self._lifo)
            self._tended[resource] = entry
            found.append(resource)
        return tuple(found)

    def _place(self, entry: Entry[R], now: float, reusable: bool = True) -> Decision[R, W]:
        """Decides over a resource that nobody holds: discard it, hand it over, or keep it idle."""
        entry.holder = None
        entry.proved = now
        if not reusable or not self._fit(entry, now):
            return self._decide(discard=(self._forget(entry),))
        if self._waiting:
            grant = self._lend(entry, next(iter(self._waiting)), now)
            del self._waiting[grant.waiter]  # last: broken off before, it is in the book in any case
            return self._decide((grant,))
        if not self._keep_idle:
            return self._decide(discard=(self._forget(entry),))
        self._idle[entry.resource] = entry
        if entry.since < now:  # a check does not make it young: the longest unused stays the first
            self._idle = OrderedDict(sorted(self._idle.items(), key=lambda item: item[1].since))
        return self._decide()

    def _lend(self, entry: Entry[R], waiter: W, now: float) -> Grant[R, W]:
        grant = Grant(waiter, entry.resource, now - entry.since)
        entry.holder = waiter
        entry.since = now
        self._leases[waiter] = entry
        return grant

    def _forget(self, entry: Entry[R]) -> R:
        self._idle.pop(entry.resource, None)
        del self._entries[entry.resource]
        return entry.resource

    def _forget_oldest(self) -> R:
        return self._forget(next(iter(self._idle.values())))

    def _forget_all_idle(self) -> tuple[R, ...]:
        return tuple(self._forget(entry) for entry in list(self._idle.values()))

    def _refuse_all(self, reason: Refusal) -> tuple[tuple[W, Refusal], ...]:
        refused = tuple((waiter, reason) for waiter in self._waiting)
        self._waiting.clear()
        return refused

    def _end_open(self) -> None:
        if not self._opening:
            raise ValueError("no open was asked for; report each open that a decision asks for exactly once")
        self._opening -= 1
