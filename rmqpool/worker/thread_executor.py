"""Runs plain functions on a consumer's own threads: as many as are needed, at most ``concurrency``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

__all__ = ["ThreadExecutor"]

_LOGGER = logging.getLogger("rmqpool")
Item = TypeVar("Item")  # a delivery, or what is handled at once


class ThreadExecutor(Generic[Item]):
    """Threads that take deliveries in the order of their arrival. ``submit_many`` never blocks: it is for the I/O thread.

    The threads are daemons: one that is stuck in a handler does not keep the process alive.
    """

    cancelling = False  # nobody can stop a thread

    def __init__(self, name: str, concurrency: int, handle: Callable[[Item], None]) -> None:
        self._name = name
        self._concurrency = concurrency
        self._handle = handle
        self._arrived: SimpleQueue[Item | None] = SimpleQueue()
        self._seats: list[_Seat] = []
        self._submitted = 0  # I/O thread only
        self._again = 0  # the worker's background thread only
        self._accepting = True

    @property
    def in_progress(self) -> int:
        """Handlers running now."""
        return sum(1 for seat in self._seats if seat.busy)

    @property
    def waiting(self) -> int:
        """Deliveries that no thread has taken yet."""
        return self._arrived.qsize() if self._accepting else 0

    def submit_many(self, deliveries: Sequence[Item]) -> None:
        """Hand deliveries over. Once this stops nothing is taken: the closing channel gives them back.

        Only a thread that waits for work is woken, and a thread is added only for what the others have no hand free for.
        """
        if not self._accepting:
            return
        self._submitted += len(deliveries)
        if len(self._seats) < self._concurrency:
            self._add_threads(self._submitted + self._again - sum(seat.ended for seat in self._seats))
        put = self._arrived.put
        for delivery in deliveries:
            put(delivery)

    def submit_again(self, delivery: Item) -> None:
        """Hand over one that was handled before; from the worker's background thread."""
        if self._accepting:
            self._again += 1
            self._arrived.put(delivery)

    def stop(self) -> list[Item]:
        """Begin nothing more; returns what was not begun. Running handlers go on: see :meth:`join`."""
        self._accepting = False
        left = self._take_all()
        self._dismiss()
        return left

    def finish(self) -> None:
        """Handle what has arrived, then end the threads."""
        self._accepting = False
        self._dismiss()

    def join(self, deadline: float) -> int:
        """Wait for the threads until ``deadline`` (monotonic); returns how many handlers still run then."""
        for seat in self._seats:
            seat.thread.join(max(0.0, deadline - time.monotonic()))
        return sum(1 for seat in self._seats if seat.thread.is_alive() and seat.busy)

    def _take_all(self) -> list[Item]:
        left: list[Item] = []
        while True:
            try:
                delivery = self._arrived.get_nowait()
            except Empty:
                return left
            if delivery is not None:
                left.append(delivery)

    def _dismiss(self) -> None:
        self._arrived.put(None)  # whoever takes it leaves, and passes it on

    def _add_threads(self, needed: int) -> None:
        while len(self._seats) < min(needed, self._concurrency):
            seat = _Seat()
            name = f"{self._name} {len(self._seats) + 1}"
            seat.thread = threading.Thread(target=self._work, args=(seat,), name=name, daemon=True)
            try:
                seat.thread.start()
            except RuntimeError:  # the system gives no more threads: go on with those that are there
                if not self._seats:
                    raise
                _LOGGER.exception("thread %s could not be started; %d handle messages", name, len(self._seats))
                self._concurrency = len(self._seats)
                return
            self._seats.append(seat)

    def _work(self, seat: _Seat) -> None:
        take, handle = self._arrived.get, self._handle
        while (delivery := take()) is not None:
            seat.busy = True
            try:
                handle(delivery)
            except BaseException:
                _LOGGER.exception("the worker itself failed on %r; it stays unacknowledged", delivery)
            del delivery  # while this thread waits, nothing keeps the body in memory
            seat.busy = False
            seat.ended += 1
        self._arrived.put(None)


class _Seat:
    """A thread, whether it runs a handler, and how many it has run. Written by that thread only."""

    __slots__ = ("busy", "ended", "thread")

    def __init__(self) -> None:
        self.busy = False
        self.ended = 0
        self.thread: threading.Thread
