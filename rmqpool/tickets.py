"""A ticket: one acquire of a channel, from waiting to release. It remembers who asked, for the reports of leaks."""

from __future__ import annotations

import threading
import time

from rmqpool.amqp.channel import BlockingChannel
from rmqpool.borrowers import Borrower
from rmqpool.errors import RmqpoolError

__all__ = ["Ticket"]


class Ticket(Borrower):
    """One acquire: waits, then holds a channel. Compared by identity. Times are monotonic."""

    __slots__ = ("channel", "error", "granted", "ready", "since")

    def __init__(self) -> None:
        super().__init__()
        self.ready = threading.Event()
        self.channel: BlockingChannel | None = None
        self.error: RmqpoolError | None = None
        self.since = self.granted = time.monotonic()
