"""Leases that do not come back: reported once they are held for too long, and again when they come back after all.

The report has the borrower's stack at acquire, what that thread or task does now, and its name, as HikariCP's has.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rmqpool.borrowers import Borrower, Calls, told
from rmqpool.core.ledger import Lease
from rmqpool.pool_events import PoolEventKind

__all__ = [
    "DROPPED",
    "Dropped",
    "LeakWatch",
    "Leases",
    "keep_in_mind",
    "keep_in_view",
    "report_overdue",
    "report_returned",
    "tickets_out",
]

_LOGGER = logging.getLogger("rmqpool")
B = TypeVar("B", bound=Borrower)

_SHORTEST = 0.02  # seconds between two looks
Tell = Callable[[PoolEventKind, str], None]


class LeakWatch:
    """Finds leases held for ``leak_after`` seconds (None: never) and tells of each once. Call it under the leases' lock."""

    def __init__(self, leak_after: float | None) -> None:
        self.leak_after = leak_after
        self.leaked = 0  # leases that were reported, ever
        self.dropped = 0  # leases that were thrown away without release, ever

    def overdue(self, leases: Iterable[Lease[Any, B]]) -> list[B]:
        """Those to be reported now; they are marked."""
        if self.leak_after is None:
            return []
        found = [lease.waiter for lease in leases if lease.seconds >= self.leak_after and not lease.waiter.overdue]
        for ticket in found:
            ticket.overdue = True
        self.leaked += len(found)
        return found

    def next_look(self, leases: Iterable[Lease[Any, B]]) -> float:
        """Seconds until one of these, or one that begins now, may be overdue."""
        leak_after = self.leak_after or 1.0
        left = (leak_after - lease.seconds for lease in leases if not lease.waiter.overdue)
        return max(_SHORTEST, min(left, default=leak_after))


def report_overdue(tickets: Iterable[Borrower], leak_after: float, tell: Tell, what: str = "channel") -> None:
    """Say it, in the log and to the listener. Outside of any lock."""
    for ticket in tickets:
        now, kind = ticket.now_at(), ticket.name.partition(" ")[0]
        doing = f"That {kind} is now at:\n{now}" if now else f"That {kind} has ended."
        sentence = (
            f"a {what} is held for more than {leak_after:g} s (leak_after) by {ticket.name}: is it ever "
            f"released? Lease it in a with block. It was borrowed at:\n{ticket.borrowed_at()}{doing}"
        )
        _LOGGER.warning("%s", sentence.rstrip())
        tell(PoolEventKind.LEASE_OVERDUE, sentence.rstrip())


def report_returned(ticket: Borrower, seconds: float, tell: Tell, what: str = "channel") -> None:
    """The overdue lease came back."""
    sentence = f"the {what} that {ticket.name} held for too long came back after {seconds:.1f} s"
    _LOGGER.warning("%s", sentence)
    tell(PoolEventKind.LEASE_RETURNED, sentence)


# For whoever looks from the outside, as the pytest plugin does.


@dataclass(frozen=True, slots=True)
class Dropped:
    """A borrower, without what it held."""

    number: int
    name: str
    calls: Calls

    def borrowed_at(self) -> str:
        """The borrower's stack at acquire, newest call last."""
        return told(self.calls)


class Leases(Protocol):
    """The leases of one connection, or of one pool."""

    def tickets(self) -> Sequence[Borrower]: ...


_IN_VIEW: weakref.WeakSet[Leases] = weakref.WeakSet()

DROPPED: deque[Dropped] = deque(maxlen=100)
"""The last leases of this process that were dropped without release."""


def keep_in_view(leases: Leases) -> None:
    """:func:`tickets_out` tells of these, too, as long as they live."""
    _IN_VIEW.add(leases)


def keep_in_mind(ticket: Borrower) -> None:
    """It is dropped. On whichever thread collects the garbage, so no lock is taken here."""
    DROPPED.append(Dropped(ticket.number, ticket.name, ticket.calls))


def tickets_out() -> list[Borrower]:
    """Who holds something of a pool that is not closed, in this process, now."""
    while True:
        try:
            return [ticket for leases in tuple(_IN_VIEW) for ticket in leases.tickets()]
        except RuntimeError:  # a pool was made, or leased its first channel, in this moment
            continue
