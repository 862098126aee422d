"""A ticket: one acquire of a channel, from waiting to release. It remembers who asked, for the reports of leaks."""

from __future__ import annotations

import contextlib
import threading
import time

from rmqpool.amqp.channel import BlockingChannel
from rmqpool.borrowers import Borrower
from rmqpool.errors import RmqpoolError

__all__ = ["Ticket"]


class Ticket(Borrower):
    """One acquire: waits, then holds a channel. Compared by identity. Times are monotonic."""

    __slots__ = ("_decided", "channel", "error", "granted", "since")

    def __init__(self) -> None:
        super().__init__()
        self._decided = threading.Lock()  # not an Event: a signal handler that raises may leave that locked
        self._decided.acquire()
        self.channel: BlockingChannel | None = None
        self.error: RmqpoolError | None = None
        self.since = self.granted = time.monotonic()

    def wait(self, timeout: float) -> bool:
        """Wait for the decision, for so many seconds; False if there was none. For the borrower, once."""
        return self._decided.acquire(timeout=timeout)

    def wake(self) -> None:
        """Something was decided; safe to call again."""
        with contextlib.suppress(RuntimeError):
            self._decided.release()
