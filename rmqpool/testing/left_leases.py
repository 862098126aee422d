"""Finds what a test leased from pools and did not give back, for the pytest plugin. Loads nothing of the pool by itself.

A lease counts as left when it was borrowed after the test's fixtures were set up, and is still out after they were torn
down, or was dropped without release. The leases of a closed pool have ended with it.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from rmqpool.borrowers import Borrower

__all__ = ["LeftLeases"]

_GRACE = 1.0  # seconds: a thread beside the test may be about to release


class LeftLeases:
    """One test: made right before it runs, asked after its fixtures are gone."""

    def __init__(self) -> None:
        self._first = Borrower().number

    def told(self) -> str:
        """What to say of the leases that are left; empty if none is. Waits for one second at most, if there are any."""
        deadline = time.monotonic() + _GRACE
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not left:
            return ""
        stacks = "\n".join(f"by {name} at:\n{stack.rstrip()}" for name, stack in left)
        number = "a lease was" if len(left) == 1 else f"{len(left)} leases were"
        return (
            f"{number} not released, borrowed\n{stacks}\nLease in a with block: with pool.channel() as channel: …, with "
            "pool.lease() as resource: …"
        )

    def _left(self) -> list[tuple[str, str]]:
        leaks: Any = sys.modules.get("rmqpool.leaks")
        if leaks is None:
            return []
        out = [*leaks.tickets_out(), *tuple(leaks.DROPPED)]
        return [(ticket.name, ticket.borrowed_at()) for ticket in out if ticket.number > self._first]
