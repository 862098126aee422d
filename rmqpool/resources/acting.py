"""Carrying out what the ledger decides, with threads: waking who waits, opening, tending and closing. Never under the lock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from rmqpool.borrowers import Borrower
from rmqpool.core.ledger import Decision, Refusal
from rmqpool.resources.base import PoolBase, Slot, check_says_no, weakly
from rmqpool.resources.values import ResourceOptions
from rmqpool.resources.workers import Task, Workers

__all__ = ["ThreadedBase", "Waiter"]

T = TypeVar("T")

_monotonic = time.monotonic


class Waiter(Generic[T]):
    """One call that waits: a lock that is held until the decision, which is lighter than an Event."""

    __slots__ = ("decided", "refusal", "slot")

    def __init__(self) -> None:
        self.slot: Slot[T] | None = None
        self.refusal: Refusal | None = None
        self.decided = threading.Lock()
        self.decided.acquire()


class ThreadedBase(PoolBase[T]):
    """A pool's book with a lock, and the threads that do what the book decides."""

    def __init__(
        self,
        options: ResourceOptions,
        open: Callable[[], T],
        close: Callable[[T], object] | None,
        check: Callable[[T], object] | None,
        reset: Callable[[T], object] | None,
    ) -> None:
        self._open_one, self._close_one, self._check_one, self._reset_one = open, close, check, reset
        self._quick = reset is None and options.leak_after is None  # what comes back may go the shortest way
        super().__init__(options, checks=check is not None)

    def _new_book(self) -> None:
        super()._new_book()
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        options = self._options
        threads = max(options.workers, options.growth or options.max_size)
        self._workers = Workers(self.name, threads, most_stuck=options.max_size)

    def _act_first(self, fill: Decision[Slot[T], Any] | None) -> None:
        """After the first use: from now on what is old is looked for from time to time."""
        if fill is not None:
            self._act(fill)
            self._pump()
            self._sweep_later()
            if self._borrowing.leak_after is not None:
                self._workers.call_at(_monotonic() + self._borrowing.leak_after, weakly(self._look_for_leaks))

    def _act(self, decision: Decision[Slot[T], Any]) -> None:
        for grant in decision.grants:
            grant.waiter.decided.release()
        for waiter, refusal in decision.refuse:
            waiter.refusal = refusal
            waiter.decided.release()
        for slot in decision.discard:
            self._discard(slot)
        for slot in decision.check:
            self._tend(slot, reset=False, check=True)
        if decision.open:
            self._pump()

    def _pump(self) -> None:
        """Begin the opens that may begin now, drop those that nobody needs any more."""
        with self._lock:
            if not self._begun:  # what was asked for before the first use begins with it
                return
            now = _monotonic()
            count, generation, decisions, wake_at = self._decide_opens(now)
        for _ in range(count):
            done = partial(self._on_opened, generation, now)
            self._workers.submit(Task(self._open_one, done, self._options.open_timeout, self._close_late))
        if wake_at < math.inf:
            self._workers.call_at(wake_at, weakly(self._pump_again))
        for decision in decisions:
            self._act(decision)

    def _pump_again(self) -> None:
        with self._lock:
            self._wake_at = math.inf
        self._pump()

    def _on_opened(self, generation: int, began: float, resource: T, error: BaseException | None) -> None:
        with self._lock:
            now = _monotonic()
            decisions, error, gave_up = self._decide_opened(generation, began, now, resource, error)
            self._grown.notify_all()
        for decision in decisions:
            self._act(decision)
        self._pump()
        self._tell_opened(now - began, error, gave_up)

    def _tend(self, slot: Slot[T], reset: bool, check: bool, then: Callable[[bool], object] | None = None) -> None:
        """Reset and check a resource that nobody has, on a thread of the pool."""

        def work() -> object:
            if reset and self._reset_one is not None:
                self._reset_one(slot.resource)
            return self._check_one(slot.resource) if check and self._check_one is not None else True

        def done(answer: object, error: BaseException | None) -> None:
            good = error is None and not check_says_no(answer)
            with self._lock:
                decision = self._ledger.tended(slot, _monotonic(), good)
            self._act(decision)
            if then is not None:
                then(good)
            self._tell_tended(reset, good, error)

        self._workers.submit(Task(work, done, self._options.check_timeout))

    def _discard(self, slot: Slot[T]) -> None:
        self._slots.pop(id(slot.resource), None)
        self._close_late(slot.resource)

    def _close_late(self, resource: T) -> None:
        """Close what is in no book: on a thread of the pool, as closing may block."""

        def done(_: object, error: BaseException | None) -> None:
            self._tell_closed(error)

        self._workers.submit(Task(partial(_close, self._close_one, resource), done, self._options.check_timeout))

    def _sweep_later(self) -> None:
        self._workers.call_at(_monotonic() + self._sweep_pause(), weakly(self._sweep))

    def _sweep(self) -> None:
        with self._lock:
            decision = self._ledger.expire(_monotonic(), self._options.max_idle)
            again = not self._ledger.closed
        self._act(decision)
        if again:
            self._sweep_later()

    def _look_for_leaks(self) -> None:
        with self._lock:
            now = _monotonic()
            overdue, pause = self._borrowing.look(now)
            again = not self._ledger.closed
        self._borrowing.tell_overdue(overdue, self._tell_lease)
        if again:
            self._workers.call_at(now + pause, weakly(self._look_for_leaks))

    def tickets(self) -> list[Borrower]:
        """Who holds something now, longest first, if the pool remembers that; nobody once it is closed."""
        with self._lock:
            return super().tickets()

    def _closing_tasks(self) -> list[Task]:
        """What closes everything that is open, without this pool: for the case that it is garbage."""
        if self._close_one is None:
            return []
        return [Task(partial(_close, self._close_one, slot.resource), _ignore) for slot in self._slots.values()]


def _close(close: Callable[[T], object] | None, resource: T) -> None:
    if close is not None:
        close(resource)


def _ignore(value: object, error: BaseException | None) -> None: ...
