"""What the leases of one connection are at a moment: a value, for figures and for errors."""

from __future__ import annotations

from dataclasses import dataclass

from rmqpool.core.histogram import Times
from rmqpool.core.ledger import Snapshot
from rmqpool.tickets import Ticket

__all__ = ["LeaseFigures", "numbers"]


@dataclass(frozen=True, slots=True)
class LeaseFigures:
    """The ledger's figures, who holds a channel for longest, and times in seconds.

    ``overdue`` leases are held for too long now; ``leaked`` ones ever were, ``dropped`` ones were thrown away unreleased.
    ``away``: acquires that got nothing because there was no connection that takes channels.
    """

    ledger: Snapshot
    oldest: Ticket | None
    wait_time: Times
    use_time: Times
    create_time: Times
    overdue: int
    leaked: int
    dropped: int
    away: int


def numbers(snapshot: Snapshot) -> str:
    """For errors."""
    return (
        f"{snapshot.leased} of {snapshot.capacity} channels leased, {snapshot.idle} idle, {snapshot.opening} opening, "
        f"{snapshot.waiting} waiting"
    )
