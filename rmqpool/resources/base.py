"""What the pools for threads and for asyncio share: options, ledger, figures, words. No thread, no loop, no waiting is here."""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rmqpool.borrowers import Borrower
from rmqpool.core.histogram import Histogram, Times
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
from rmqpool.pool_events import PoolEvent
from rmqpool.resources.borrowing import Borrowing, Slot, new_tokens
from rmqpool.resources.values import (
    Counters,
    ResourceEvent,
    ResourceEventKind,
    ResourceOptions,
    ResourceStats,
    stats_of,
)

__all__ = ["PoolBase", "Slot", "check_says_no", "weakly"]

T = TypeVar("T")

_LOGGER = logging.getLogger("rmqpool")
_SERIALS = itertools.count(1)
_JITTER = 0.1  # lifetimes end up to this part earlier, so that not all resources end together


class PoolBase(Generic[T]):
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
        self._slots: dict[int, Slot[T]] = {}  # by the identity of the resource
        self._inherited: dict[int, Slot[T]] = {}
        self._borrowing = Borrowing(self._ledger, options.leak_after)
        self._tokens = new_tokens(self._borrowing.remembers, self._in_tasks)
        self._waits = Histogram()
        self._opens = Histogram()
        self._reconnects_failed = 0
        self._popped = (Counters(), Times(), Times())
        self._begun = False
        self._wake_at = math.inf

    # Figures

    def _counters(self) -> Counters:
        totals = self._ledger.snapshot(0.0).totals
        ended = totals.granted + totals.refused + totals.timed_out + totals.cancelled
        return Counters(
            requests=ended + self._ledger.waiting,
            granted=totals.granted,
            queued=self._waits.times().count,
            timed_out=totals.timed_out,
            cancelled=totals.cancelled,
            refused=totals.refused,
            given_back=totals.given_back,
            used_seconds=totals.used_seconds,
            opened=totals.opened,
            open_failures=totals.open_failures,
            reconnects_failed=self._reconnects_failed,
            checks_failed=totals.failed_checks,
            discarded=totals.discarded + totals.lost,
        )

    def _stats(self, now: float) -> ResourceStats:
        counters, waits, opens = self._popped
        return stats_of(
            self.name,
            self._ledger.snapshot(now),
            self._counters().minus(counters),
            self._waits.times().since(waits),
            self._opens.times().since(opens),
        )

    def _pop_stats(self, now: float) -> ResourceStats:
        stats = self._stats(now)
        self._popped = (self._counters(), self._waits.times(), self._opens.times())
        return stats

    @property
    def closed(self) -> bool:
        """True once :meth:`close` was called."""
        return self._ledger.closed

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._begun else "not open yet"
        return f"<{self._kind} {self.name!r} {state}: {self.stats().summary()}>"

    def stats(self) -> ResourceStats:
        """The figures of this moment, and the counts since :meth:`pop_stats`."""
        raise NotImplementedError

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
        if reusable and tend and not self._ledger.closed:
            return self._ledger.release_to_tend(held, now) is not None, Decision()
        return False, self._ledger.release(held, now, reusable)

    def _decide_opens(self, now: float) -> tuple[int, int, list[Decision[Slot[T], Any]], float]:
        """How many opens begin now, their generation, what follows from those that were dropped, and when to come again."""
        self._plan.want(self._ledger.opening)
        surplus = self._plan.withdraw(self._ledger.surplus_opening)
        decisions = [self._ledger.open_withdrawn() for _ in range(surplus)]
        count = self._plan.begin(now)
        wake_at = self._plan.wake_at()
        if wake_at >= self._wake_at:
            return count, self._ledger.generation, decisions, math.inf
        self._wake_at = wake_at
        return count, self._ledger.generation, decisions, wake_at

    def _decide_opened(
        self, generation: int, began: float, now: float, resource: T, error: BaseException | None
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
                return [self._ledger.opened(slot, now, generation=generation, lifetime=lifetime)], None, False
        gave_up = self._plan.failed(began, now, random.random())
        decisions = [self._ledger.open_failed(error)]
        if gave_up:
            self._reconnects_failed += 1
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
        if timeout is None:
            return self._options.timeout
        if (
            isinstance(timeout, bool)
            or not isinstance(timeout, int | float)
            or not 0 <= timeout <= threading.TIMEOUT_MAX
        ):
            raise ConfigurationError(f"timeout is {timeout!r}; give seconds, 0 for what is free at once")
        return float(timeout)

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
            f"resources for less time; longest lease {stats.oldest_lease:.1f} s{held}"
        )

    def _not_filled(self, timeout: float, stats: ResourceStats) -> PoolTimeoutError:
        return PoolTimeoutError(
            f"pool {self.name!r} has {stats.size} of {stats.min_size} resources after {timeout:g} s ({stats.summary()}); it "
            "goes on trying"
        )

    def _refusal(self, refusal: Refusal, stats: ResourceStats) -> Exception:
        if refusal is Refusal.CLOSED:
            return PoolClosedError(f"pool {self.name!r} is closed: make a new one")
        if refusal is Refusal.OPEN_FAILED:
            return PoolTimeoutError(
                f"pool {self.name!r}: nothing could be opened for {self._options.reconnect_timeout:g} s ({stats.summary()}); "
                "the pool goes on trying; see the cause below"
            )
        return TooManyWaitingError(
            f"pool {self.name!r}: {stats.waiting} callers wait already (max_waiting={stats.max_waiting}; "
            f"{stats.summary()}): raise max_size or max_waiting, or hold resources for less time"
        )

    # Events

    def _tell_opened(self, seconds: float, error: BaseException | None, gave_up: bool) -> None:
        if error is None:
            self._tell(ResourceEventKind.OPENED, f"opened in {seconds:.3f} s")
            return
        self._tell(ResourceEventKind.OPEN_FAILED, f"an open failed with {type(error).__name__}", error)
        if gave_up:
            sentence = f"nothing could be opened for {self._options.reconnect_timeout:g} s; the pool goes on trying"
            self._tell(ResourceEventKind.RECONNECT_FAILED, sentence, error)

    def _tell_tended(self, reset: bool, good: bool, error: BaseException | None) -> None:
        if not good:
            kind = ResourceEventKind.RESET_FAILED if reset else ResourceEventKind.CHECK_FAILED
            why = "it returned False" if error is None else type(error).__name__
            self._tell(kind, f"{kind.value}: {why}; the resource is closed", error)

    def _tell_lease(self, event: PoolEvent, sentence: str) -> None:
        overdue = event is PoolEvent.LEASE_OVERDUE
        self._tell(ResourceEventKind.LEASE_OVERDUE if overdue else ResourceEventKind.LEASE_RETURNED, sentence)

    def _tell_closed(self, error: BaseException | None) -> None:
        if error is None:
            self._tell(ResourceEventKind.CLOSED, "closed a resource")
        else:
            self._tell(ResourceEventKind.CLOSE_FAILED, f"closing failed with {type(error).__name__}", error)

    def _tell(self, kind: ResourceEventKind, sentence: str, error: BaseException | None = None) -> None:
        """To be called outside of the lock."""
        if self._options.on_event is None:
            return
        try:
            self._options.on_event(ResourceEvent(kind, self.name, sentence, error))
        except Exception:
            _LOGGER.exception("on_event of pool %r failed", self.name)


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
