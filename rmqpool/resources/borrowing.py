"""Who has what of a pool of resources, and leases that last: the watch of ``rmqpool.leaks``, on the ledger of such a pool.

A pool that remembers its borrowers uses them as the tokens of its leases. One that does not has numbers for that, and pays
nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from rmqpool.borrowers import Borrower, all_are_remembered
from rmqpool.core.ledger import Lease as Held
from rmqpool.core.ledger import Ledger
from rmqpool.leaks import LeakWatch, report_overdue, report_returned
from rmqpool.pool_events import PoolEventKind

__all__ = ["Borrowing", "Slot", "new_tokens"]

T = TypeVar("T")
Tell = Callable[[PoolEventKind, str], None]


class Slot(Generic[T]):
    """One resource in its pool's book, and the token of its lease, which is None while it is not leased.

    ``asked``: the token that its borrower had before it waited. ``tending`` and ``ending``: the tasks that check or reset
    the resource, and that close it, once there are such.
    """

    __slots__ = ("asked", "ending", "resource", "tending", "token")

    def __init__(self, resource: T) -> None:
        self.resource = resource
        self.token: Any = None
        self.asked: Any = None
        self.tending: Any = None
        self.ending: Any = None


def new_tokens(remember: bool, in_tasks: bool) -> Iterator[Any]:
    """One for each acquire, made where it is called. They hold no pool."""
    if remember:
        return iter(_task if in_tasks else Borrower, None)
    return itertools.count(1)


def _task() -> Borrower:
    return Borrower(asyncio.current_task())


class Borrowing(Generic[T]):
    """The borrowers of one pool. To be called as its ledger is: under the pool's lock, or on its loop."""

    def __init__(self, ledger: Ledger[Slot[T], Any], leak_after: float | None, name: str) -> None:
        self._ledger = ledger
        self._watch = LeakWatch(leak_after)
        self._what = f"resource of pool {name!r}"  # a process has many pools, and the log is one
        self._returned: deque[tuple[Borrower, float]] = deque()
        self.leak_after = leak_after
        self.remembers = leak_after is not None or all_are_remembered()

    @property
    def leaked(self) -> int:
        """Leases that were reported, ever."""
        return self._watch.leaked

    def borrowers(self, now: float) -> list[Borrower]:
        """Who has something now, longest first."""
        return [lease.waiter for lease in self._leases(now)] if self.remembers else []

    def overdue(self, now: float) -> int:
        """How many leases that were reported are out still."""
        return 0 if self.leak_after is None else sum(lease.waiter.overdue for lease in self._leases(now))

    def look(self, now: float) -> tuple[list[Borrower], float]:
        """Who is to be reported now, and in how many seconds to look again."""
        leases = self._leases(now)
        return self._watch.overdue(leases), self._watch.next_look(leases)

    def comes_back(self, slot: Slot[T], token: Any, now: float) -> None:
        """To be called before the ledger takes it back; whoever was reported is told of by :meth:`tell_returned`."""
        if self.leak_after is None:
            return
        borrower = token if isinstance(token, Borrower) else slot.asked
        if isinstance(borrower, Borrower) and borrower.overdue:
            self._returned.append((borrower, self._ledger.held_for(token, now)))

    def tell_overdue(self, borrowers: list[Borrower], tell: Tell) -> None:
        """Outside of the lock."""
        report_overdue(borrowers, self.leak_after or 0.0, tell, self._what)

    def tell_returned(self, tell: Tell) -> None:
        """Outside of the lock."""
        while self._returned:
            try:
                borrower, seconds = self._returned.popleft()
            except IndexError:  # another thread tells of it
                return
            report_returned(borrower, seconds, tell, self._what)

    def _leases(self, now: float) -> list[Held[Slot[T], Borrower]]:
        found: list[Held[Slot[T], Borrower]] = []
        for lease in self._ledger.leases(now):
            slot, token = lease.resource, lease.waiter
            borrower = token if isinstance(token, Borrower) else slot.asked if slot.token is token else None
            if isinstance(borrower, Borrower):  # else it was granted in this moment, and is not known yet
                found.append(Held(borrower, slot, lease.seconds))
        return found
