"""Leases that do not come back: reported once they are held for too long, and again when they come back after all.

The report has the borrower's stack at acquire, what its thread does now, and the thread's name, as HikariCP's has.
"""

from __future__ import annotations

import logging
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from rmqpool.core.ledger import Lease
from rmqpool.pool_events import PoolEvent
from rmqpool.tickets import Ticket

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
_SHORTEST = 0.02  # seconds between two looks
Tell = Callable[[PoolEvent, str], None]


class LeakWatch:
    """Finds leases held for ``leak_after`` seconds (None: never) and tells of each once. Call it under the leases' lock."""

    def __init__(self, leak_after: float | None) -> None:
        self.leak_after = leak_after
        self.leaked = 0  # leases that were reported, ever
        self.dropped = 0  # leases that were thrown away without release, ever

    def overdue(self, leases: Iterable[Lease[Any, Ticket]]) -> list[Ticket]:
        """Those to be reported now; they are marked."""
        if self.leak_after is None:
            return []
        found = [lease.waiter for lease in leases if lease.seconds >= self.leak_after and not lease.waiter.overdue]
        for ticket in found:
            ticket.overdue = True
        self.leaked += len(found)
        return found

    def next_look(self, leases: Iterable[Lease[Any, Ticket]]) -> float:
        """Seconds until one of these, or one that begins now, may be overdue."""
        leak_after = self.leak_after or 1.0
        left = (leak_after - lease.seconds for lease in leases if not lease.waiter.overdue)
        return max(_SHORTEST, min(left, default=leak_after))


def report_overdue(tickets: Iterable[Ticket], leak_after: float, tell: Tell) -> None:
    """Say it, in the log and to the listener. Outside of any lock."""
    for ticket in tickets:
        now = ticket.now_at()
        doing = f"That thread is now at:\n{now}" if now else "That thread has ended."
        sentence = (
            f"a channel is held for more than {leak_after:g} s (leak_after) by thread {ticket.thread}: is it ever "
            f"released? Lease it in a with block. It was borrowed at:\n{ticket.borrowed_at()}{doing}"
        )
        _LOGGER.warning("%s", sentence.rstrip())
        tell(PoolEvent.LEASE_OVERDUE, sentence.rstrip())


def report_returned(ticket: Ticket, seconds: float, tell: Tell) -> None:
    """The overdue lease came back."""
    sentence = f"the channel that thread {ticket.thread} held for too long came back after {seconds:.1f} s"
    _LOGGER.warning("%s", sentence)
    tell(PoolEvent.LEASE_RETURNED, sentence)


# For whoever looks from the outside, as the pytest plugin does.


@dataclass(frozen=True, slots=True)
class Dropped:
    """A ticket, without what it held."""

    number: int
    thread: str
    borrower: list[traceback.FrameSummary]

    def borrowed_at(self) -> str:
        """The borrower's stack at acquire, newest call last."""
        return "".join(traceback.format_list(self.borrower))


class Leases(Protocol):
    """The leases of one connection."""

    def tickets(self) -> tuple[Ticket, ...]: ...


_IN_VIEW: weakref.WeakSet[Leases] = weakref.WeakSet()

DROPPED: deque[Dropped] = deque(maxlen=100)
"""The last leases of this process that were dropped without release."""


def keep_in_view(leases: Leases) -> None:
    """:func:`tickets_out` tells of these, too, as long as they live."""
    _IN_VIEW.add(leases)


def keep_in_mind(ticket: Ticket) -> None:
    """It is dropped. On whichever thread collects the garbage, so no lock is taken here."""
    DROPPED.append(Dropped(ticket.number, ticket.thread, ticket.borrower))


def tickets_out() -> list[Ticket]:
    """Every channel of this process that is leased now, from a pool that is not closed."""
    while True:
        try:
            return [ticket for leases in tuple(_IN_VIEW) for ticket in leases.tickets()]
        except RuntimeError:  # a pool leased its first channel in this moment
            continue
