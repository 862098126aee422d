"""Carrying out what the ledger decides, with threads: waking who waits, opening, tending and closing. Never under the lock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from rmqpool.borrowers import Borrower
from rmqpool.callables import never_awaited, plain_function
from rmqpool.core.ledger import Decision, Refusal
from rmqpool.resources.base import PoolBase, Slot, check_says_no, weakly
from rmqpool.resources.guarding import Birth
from rmqpool.resources.values import ResourceOptions
from rmqpool.resources.workers import Task, Workers

__all__ = ["ThreadedBase", "Waiter", "wake"]

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
        for name, given in (("open", open), ("close", close), ("check", check), ("reset", reset)):
            if given is not None or name == "open":
                plain_function(f"ResourcePool: {name}", given, "use AsyncResourcePool, or make it def")
        self._open_one, self._close_one, self._check_one, self._reset_one = open, close, check, reset
        self._quick = reset is None and options.leak_after is None  # what comes back may go the shortest way
        super().__init__(options, checks=check is not None)

    def _new_book(self) -> None:
        super()._new_book()
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._opening: set[Task] = set()
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
        try:
            self._act_on(decision)
        except BaseException:  # interrupted: what has been done is not done again
            self._act_on(decision)
            raise

    def _act_on(self, decision: Decision[Slot[T], Any]) -> None:
        for grant in decision.grants:
            wake(grant.waiter)
        for waiter, refusal in decision.refuse:
            waiter.refusal = refusal
            wake(waiter)
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
            opens = self._plan_opens(_monotonic())
        self._begin_opens(*opens)

    def _plan_opens(self, now: float) -> tuple[list[Task], float, list[Decision[Slot[T], Any]]]:
        """What :meth:`_begin_opens` has to do; under the lock."""
        births, decisions, wake_at = self._decide_opens(now)
        tasks = [self._opening_task(birth, now) for birth in births]
        self._opening.update(tasks)
        return tasks, wake_at, decisions

    def _begin_opens(self, tasks: list[Task], wake_at: float, decisions: list[Decision[Slot[T], Any]]) -> None:
        for task in tasks:
            self._workers.submit(task)
        self._guard.tell()
        if wake_at < math.inf:
            self._workers.call_at(wake_at, weakly(self._pump_again))
        for decision in decisions:
            self._act(decision)

    def _opening_task(self, birth: Birth, began: float) -> Task:
        def done(resource: Any, error: BaseException | None) -> None:
            self._on_opened(task, birth, began, resource, error)

        task = Task(partial(never_awaited, "open", self._open_one), done, self._options.open_timeout, self._close_late)
        return task

    def _pump_again(self) -> None:
        with self._lock:
            self._wake_at = math.inf
        self._pump()

    def _on_opened(self, task: Task, birth: Birth, began: float, resource: T, error: BaseException | None) -> None:
        self._guard.settle(birth, error)
        with self._lock:
            self._opening.discard(task)
            now = _monotonic()
            decisions, error, gave_up = self._decide_opened(birth, began, now, resource, error)
            opens = self._plan_opens(now)  # in the same turn: many open at once, and each waits for the lock
            self._grown.notify_all()
        for decision in decisions:
            self._act(decision)
        self._begin_opens(*opens)
        self._tell_opened(now - began, error, gave_up)

    def _tend(self, slot: Slot[T], reset: bool, check: bool, then: Callable[[bool], object] | None = None) -> None:
        """Reset and check a resource that nobody has, on a thread of the pool."""

        def work() -> object:
            if reset and self._reset_one is not None:
                never_awaited("reset", self._reset_one, slot.resource)
            return (
                never_awaited("check", self._check_one, slot.resource)
                if check and self._check_one is not None
                else True
            )

        def done(answer: object, error: BaseException | None) -> None:
            good = error is None and not check_says_no(answer)
            with self._lock:
                slot.tending = None
                decision = self._ledger.tended(slot, _monotonic(), good)
            self._act(decision)
            if then is not None:
                then(good)
            self._tell_tended(reset, good, error)

        if slot.tending is None:
            slot.tending = Task(work, done, self._options.check_timeout)
        self._workers.submit(slot.tending)

    def _discard(self, slot: Slot[T]) -> None:
        if slot.ending is None:
            slot.ending = self._closing_task(slot.resource)
        self._workers.submit(slot.ending)
        if self._slots.get(id(slot.resource)) is slot:
            del self._slots[id(slot.resource)]

    def _close_late(self, resource: T) -> None:
        """Close what is in no book: on a thread of the pool, as closing may block."""
        self._workers.submit(self._closing_task(resource))

    def _closing_task(self, resource: T) -> Task:
        def done(_: object, error: BaseException | None) -> None:
            self._tell_closed(error)

        return Task(partial(_close, self._close_one, resource), done, self._options.check_timeout)

    def _interrupted(self, token: Any, returned: bool) -> None:
        """A caller was interrupted in the middle of a step, as by Ctrl-C: nothing of what it had, or did, may be lost.

        ``token``: its lease. It goes on to the next; where it was being given back the resource is in doubt, and is closed.
        """
        with self._lock:
            now = _monotonic()
            held = self._ledger.held_by(token)
            if held is not None:
                held.token = None
            if held is not None and returned:
                decisions = [self._ledger.release(token, now, reusable=False)]
            else:
                decisions = [self._ledger.abandon(token, now, cancelled=True).decision]
            decisions += self._ledger.mend(now)
            untended = [slot for slot in self._slots.values() if self._ledger.tends(slot) and slot.tending is None]
            decisions += [self._ledger.tended(slot, now, good=False) for slot in untended]
            undone = [*self._opening, *(slot.tending for slot in self._slots.values() if slot.tending is not None)]
            self._plan.running = len(self._opening)
            self._wake_at = math.inf  # nobody may come then
            unknown = [slot for slot in self._slots.values() if not self._ledger.knows(slot)]
            woken = [lease.waiter for lease in self._ledger.leases(now)]
        for waiter in woken:
            if isinstance(waiter, Waiter):
                wake(waiter)
        for decision in decisions:
            self._act(decision)
        for task in undone:
            self._workers.submit(task)
        for slot in unknown:
            self._discard(slot)
        self._pump()

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


def wake(waiter: Waiter[Any]) -> None:
    """Its decision is there. To be called outside of the lock; safe to call again."""
    try:  # noqa: SIM105 - each hand-over comes by here, and contextlib.suppress takes as long as the rest
        waiter.decided.release()
    except RuntimeError:  # it was told already
        pass


def _close(close: Callable[[T], object] | None, resource: T) -> None:
    if close is not None:
        never_awaited("close", close, resource)


def _ignore(value: object, error: BaseException | None) -> None: ...
