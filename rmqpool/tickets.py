"""A ticket: one acquire of a channel, from waiting to release. It remembers who asked, for the reports of leaks."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import traceback

from rmqpool.amqp.channel import BlockingChannel
from rmqpool.errors import RmqpoolError

__all__ = ["Ticket"]

_TICKETS = itertools.count(1)
_CALLS = 8  # of a stack that are told


class Ticket:
    """One acquire: waits, then holds a channel. Compared by identity. Times are monotonic."""

    __slots__ = ("borrower", "channel", "error", "granted", "number", "overdue", "owner", "ready", "since")

    def __init__(self) -> None:
        self.number = next(_TICKETS)
        self.ready = threading.Event()
        self.channel: BlockingChannel | None = None
        self.error: RmqpoolError | None = None
        self.since = self.granted = time.monotonic()
        self.overdue = False  # it was reported as held for too long
        self.owner = threading.current_thread()
        callers = traceback.walk_stack(sys._getframe(1))
        # Source lines are looked up when somebody reads them: every lease pays for this, few are ever reported.
        self.borrower = traceback.StackSummary.extract(callers, limit=_CALLS, lookup_lines=False)[2:]
        self.borrower.reverse()

    @property
    def thread(self) -> str:
        """The name of the borrower's thread."""
        return self.owner.name

    def borrowed_at(self) -> str:
        """The borrower's stack at acquire, newest call last."""
        return "".join(traceback.format_list(self.borrower))

    def now_at(self) -> str:
        """What the borrower's thread does at this moment, newest call last; empty if it has ended."""
        frame = sys._current_frames().get(self.owner.ident or 0) if self.owner.is_alive() else None
        return "".join(traceback.format_stack(frame, limit=_CALLS)) if frame is not None else ""

    def __repr__(self) -> str:
        return f"<Ticket {self.number} of thread {self.thread}>"
