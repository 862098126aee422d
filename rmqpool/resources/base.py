"""What the pools for threads and for asyncio share: options, ledger, figures, words. No thread, no loop, no waiting is here."""

from __future__ import annotations

import itertools
import math
import random
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rmqpool.borrowers import Borrower
from rmqpool.core.histogram import Histogram, at_once
from rmqpool.core.ledger import Decision, Ledger, Refusal
from rmqpool.core.opening import OpenPlan
from rmqpool.errors import (
    ConfigurationError,
    LeaseReleasedError,
    PoolClosedError,
    PoolTimeoutError,
    TooManyWaitingError,
)
from rmqpool.leaks import keep_in_view
from rmqpool.looks import Looks
from rmqpool.pool_options import seconds_or_now
from rmqpool.resources.borrowing import Borrowing, Slot, new_tokens
from rmqpool.resources.guarding import Birth, Guard
from rmqpool.resources.telling import Errors, Telling
from rmqpool.resources.values import Counters, ResourceOptions, ResourceStats, stats_of

__all__ = ["PoolBase", "Slot", "check_says_no", "weakly"]

T = TypeVar("T")

_SERIALS = itertools.count(1)
_JITTER = 0.1  # lifetimes end up to this part earlier, so that not all resources end together


class PoolBase(Telling, Generic[T]):
    """The state of one pool. Its methods are called under the pool's lock, or on its event loop."""

    _kind = "ResourcePool"
    _in_tasks = False

    def __init__(self, options: ResourceOptions, checks: bool) -> None:
        self._options = options
        self._checks = checks
        self.name = options.name or f"pool-{next(_SERIALS)}"
        """Names the pool in errors, events and thread names."""
        self._sizes = (options.min_size, options.max_size)
        self._new_book()
        if self._borrowing.remembers:
            keep_in_view(self)

    def _new_book(self) -> None:
        options, (min_size, max_size) = self._options, self._sizes
        self._ledger: Ledger[Slot[T], Any] = Ledger(
            max_size,
            options.max_waiting,
            min_size,
            options.growth,
            order=options.order,
            keep_idle=options.keep_idle,
            check_after=options.check_after_idle if self._checks else math.inf,
        )
        self._plan = OpenPlan(options.backoff, options.reconnect_timeout)
        self._guard = Guard(options.breaker, self._plan)
        self._slots: dict[int, Slot[T]] = {}  # by the identity of the resource
        self._inherited: dict[int, Slot[T]] = {}
        self._borrowing = Borrowing(self._ledger, options.leak_after, self.name)
        self._tokens = new_tokens(self._borrowing.remembers, self._in_tasks)
        self._waits = Histogram()
        self._opens = Histogram()
        self._reconnects_failed = 0
        self._queued = self._given_up = 0
        self._errors = Errors()
        self._looks: Looks[ResourceStats] = Looks()
        self._popped: ResourceStats | None = None
        self._begun = False
        self._wake_at = math.inf

    # Figures

    def _stats(self, now: float) -> ResourceStats:
        snapshot = self._ledger.snapshot(now)
        totals = snapshot.totals
        ended = totals.granted + totals.refused + totals.timed_out + totals.cancelled
        counters = Counters(
            requests=ended + snapshot.waiting,
            granted=totals.granted,
            queued=self._queued,
            timed_out=totals.timed_out,
            cancelled=totals.cancelled,
            refused=totals.refused,
            away=totals.away,
            given_back=totals.given_back,
            opened=totals.opened,
            open_failures=totals.open_failures,
            reconnects_failed=self._reconnects_failed,
            checks_failed=totals.failed_checks,
            lost=totals.failed_checks + self._given_up,
            thrown_away=totals.discarded + totals.lost,
            leaked=self._borrowing.leaked,
        )
        return stats_of(
            self.name,
            snapshot,
            counters,
            overdue=self._borrowing.overdue(now),
            errors=self._errors.counts(),
            wait_time=self._waits.times().plus(at_once(totals.taken)),
            use_time=self._ledger.use_time(),
            create_time=self._opens.times(),
        )

    def _pop_stats(self, now: float) -> ResourceStats:
        stats = self._stats(now)
        before, self._popped = self._popped, stats
        return stats.since(before)

    @property
    def closed(self) -> bool:
        """True once :meth:`close` was called."""
        return self._ledger.closed

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._begun else "not open yet"
        return f"<{self._kind} {self.name!r} {state}: {self.stats().summary()}>"

    def _last_open_error(self) -> BaseException | None:
        return self._ledger.last_open_error

    def tickets(self) -> list[Borrower]:
        """Who holds something now, longest first, if the pool remembers that; nobody once it is closed."""
        return [] if self._ledger.closed else self._borrowing.borrowers(time.monotonic())

    # Slots

    def _adopt(self, resource: T) -> Slot[T]:
        """A place in the book for what ``open`` returned. Raises ConfigurationError when it is there already."""
        if id(resource) in self._slots:
            raise ConfigurationError(
                f"pool {self.name!r}: open returned an object that the pool has already; it must make a new one each time"
            )
        slot = self._slots[id(resource)] = Slot(resource)
        return slot

    def _not_leased(self, resource: object) -> LeaseReleasedError:
        known = id(resource) in self._slots
        why = "it was released already" if known else "it is not of this pool, or was released and closed"
        return LeaseReleasedError(f"pool {self.name!r} has not lent this {type(resource).__name__}: {why}")

    # Decisions that both kinds carry out in their own way

    def _begin(self) -> Decision[Slot[T], Any] | None:
        """The first use: asks for the minimum. None when it is not the first, or the pool is closed."""
        if self._begun or self._ledger.closed:
            return None
        self._begun = True
        return self._ledger.fill()

    def _decide_return(
        self, slot: Slot[T], held: Any, reusable: bool, tend: bool, now: float
    ) -> tuple[bool, Decision[Slot[T], Any]]:
        """True: the resource is to be tended now. Else the decision says what becomes of it."""
        self._borrowing.comes_back(slot, held, now)
        self._given_up += not reusable
        if reusable and tend and not self._ledger.closed:
            return self._ledger.release_to_tend(held, now) is not None, Decision()
        return False, self._ledger.release(held, now, reusable)

    def _decide_opens(self, now: float) -> tuple[list[Birth], list[Decision[Slot[T], Any]], float]:
        """The opens that begin now, what follows from those that were dropped, and when to come again."""
        self._plan.want(self._ledger.opening)
        surplus = self._plan.withdraw(self._ledger.surplus_opening)
        decisions = [self._ledger.open_withdrawn() for _ in range(surplus)]
        births, held_until = self._guard.admit(self._plan.begin(now), self._ledger.generation, now)
        wake_at = self._plan.wake_at() if held_until == math.inf else held_until
        if held_until < math.inf and self._guard.is_held(now):
            decisions.append(self._ledger.fail_waiting())
        if wake_at >= self._wake_at:
            return births, decisions, math.inf
        self._wake_at = wake_at
        return births, decisions, wake_at

    def _decide_to_wait(self, waiter: Any, now: float) -> Decision[Slot[T], Any]:
        """A caller comes, and nothing can be lent the shortest way. While opens are held nobody waits for one."""
        decision = self._ledger.acquire(waiter, now)
        if not (self._ledger.opening and self._guard.is_held(now)):
            return decision
        held = self._ledger.fail_waiting()  # nobody waits for a grant or a check after that
        return Decision(decision.grants, held.refuse, decision.discard, decision.open, decision.check)

    def _decide_opened(
        self, birth: Birth, began: float, now: float, resource: T, error: BaseException | None
    ) -> tuple[list[Decision[Slot[T], Any]], BaseException | None, bool]:
        """An open has ended: what follows, its error, and whether nothing could be opened for ``reconnect_timeout``."""
        if error is None:
            try:
                slot = self._adopt(resource)
            except ConfigurationError as twice:
                error = twice
            else:
                self._plan.succeeded()
                self._opens.add(now - began)
                lifetime = self._options.max_lifetime * (1.0 - _JITTER * random.random())
                return [self._ledger.opened(slot, now, generation=birth.generation, lifetime=lifetime)], None, False
        gave_up = self._plan.failed(began, now, random.random())
        decisions = [self._ledger.open_failed(error)]
        if gave_up:
            self._reconnects_failed += 1
        if gave_up or self._guard.is_held(now):
            decisions.append(self._ledger.fail_waiting())
        return decisions, error, gave_up

    def _sweep_pause(self) -> float:
        """Seconds between two looks at what is old."""
        return min(30.0, max(0.02, min(self._options.max_idle, self._options.max_lifetime) / 4))

    def _after_fork(self) -> None:
        """In the child: everything is the parent's. It is kept, and never closed: closing it would speak to its server."""
        inherited = {**self._inherited, **self._slots}
        for slot in inherited.values():
            slot.token = None
        closed = self._ledger.closed
        self._new_book()
        self._inherited = inherited
        if closed:
            self._ledger.close()

    # Words

    def _check_timeout(self, timeout: float | None) -> float:
        return self._options.timeout if timeout is None else seconds_or_now(timeout)

    def _exhausted(self, timeout: float, stats: ResourceStats) -> PoolTimeoutError:
        if stats.failures_in_a_row:
            cause = type(self._ledger.last_open_error).__name__
            return PoolTimeoutError(
                f"pool {self.name!r}: nothing could be opened within {timeout:g} s: the last open failed with {cause} "
                f"({stats.summary()}); see the cause below"
            )
        oldest = next(iter(self.tickets()), None)
        held = f", by {oldest.name} at:\n{oldest.borrowed_at()}" if oldest is not None else ""
        return PoolTimeoutError(
            f"pool {self.name!r}: no resource became free within {timeout:g} s: {stats.summary()}; raise max_size, or hold "
            f"resources for less time; longest lease {stats.longest_lease:.1f} s{held}"
        )

    def _is_filled(self) -> bool:
        return self._ledger.closed or self._ledger.size >= self._ledger.minimum

    def _gave_up_filling(self) -> bool:
        return not self._plan.running and self._guard.is_held(time.monotonic())  # its own open may be the probe

    def _not_filled(self, timeout: float, stats: ResourceStats) -> Exception:
        if self._guard.is_held(time.monotonic()):
            why = f"pool {self.name!r} has {stats.size} of {stats.min_size} resources ({stats.summary()}); it goes on trying"
            held = self._guard.refusal(why, self._ledger.last_open_error)
            if held is not None:
                return held
        return PoolTimeoutError(
            f"pool {self.name!r} has {stats.size} of {stats.min_size} resources after {timeout:g} s ({stats.summary()}); it "
            "goes on trying"
        )

    def _refusal(self, refusal: Refusal, stats: ResourceStats) -> Exception:
        if refusal is Refusal.CLOSED:
            return PoolClosedError(f"pool {self.name!r} is closed: make a new one")
        if refusal is Refusal.OPEN_FAILED:
            why = f"pool {self.name!r}: nothing is free, and nothing can be opened now ({stats.summary()})"
            held = self._guard.refusal(why, self._ledger.last_open_error)
            return held or PoolTimeoutError(
                f"pool {self.name!r}: nothing could be opened for {self._options.reconnect_timeout:g} s ({stats.summary()}); "
                "the pool goes on trying; see the cause below"
            )
        return TooManyWaitingError(
            f"pool {self.name!r}: {stats.waiting} callers wait already (max_waiting={stats.max_waiting}; "
            f"{stats.summary()}): raise max_size or max_waiting, or hold resources for less time"
        )


def check_says_no(answer: object) -> bool:
    """A check fails by raising, or by returning False; any other value is a yes."""
    return answer is False


def weakly(method: Callable[[], None]) -> Callable[[], None]:
    """Calls the method while its object is there: what waits for the time keeps no pool alive."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call
