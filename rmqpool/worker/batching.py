"""Batches in front of an executor: deliveries are collected until a batch is full, or has waited long enough."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rmqpool.core.batch_filling import BatchFilling
from rmqpool.message import Delivery
from rmqpool.worker.executors import InFront, MakeExecutor
from rmqpool.worker.later import Later

__all__ = ["Batch", "BatchingExecutor"]

Batch = list[Delivery]

_LOGGER = logging.getLogger("rmqpool")
_CLOSE_TIMEOUT = 1.0  # seconds


class BatchingExecutor(InFront[Batch]):
    """Hands batches of at most ``size`` deliveries to the executor that ``make`` makes, ``timeout`` seconds after the
    first of them at the latest. ``submit_many`` never blocks: it is for the I/O thread. Owns the thread of its timer.
    """

    def __init__(
        self,
        name: str,
        size: int,
        timeout: float,
        handle: Callable[[Batch], None],
        handle_async: Callable[[Batch], Coroutine[Any, Any, None]],
        make: MakeExecutor[Batch],
    ) -> None:
        self._handle = handle
        self._handle_async = handle_async
        self._lock = threading.Lock()
        self._filling: BatchFilling[Delivery] = BatchFilling(size, timeout)
        self._ready = 0  # deliveries in batches that nobody has begun
        self._accepting = True
        self._timer = Later(f"{name} batches")
        self._timer_runs = False
        self._inner = make(self._run, self._run_async)

    @property
    def waiting(self) -> int:
        """Deliveries that were not begun yet."""
        return len(self._filling) + self._ready if self._accepting else 0

    def submit_many(self, deliveries: Sequence[Delivery]) -> None:
        """Collect deliveries. Once this stops nothing is taken: the closing channel gives them back."""
        with self._lock:
            if self._accepting:
                self._hand_over(self._filling.add(deliveries, time.monotonic()))
                self._set_timer()

    def submit_again(self, delivery: Delivery) -> None:
        """Collect one that was handled before, as if it had just arrived."""
        self.submit_many((delivery,))

    def stop(self) -> list[Delivery]:
        """Begin nothing more; returns what was not begun. Running handlers go on: see :meth:`join`."""
        with self._lock:
            self._accepting = False
            left = [delivery for batch in self._inner.stop() for delivery in batch]
            return left + self._filling.take_all()

    def finish(self) -> None:
        """Handle what has arrived, also a batch that is not full."""
        with self._lock:
            self._accepting = False
            if last := self._filling.take_all():
                self._hand_over([last])
            self._inner.finish()

    def join(self, deadline: float) -> int:
        """Wait for running handlers until ``deadline`` (monotonic); returns how many still ran then."""
        abandoned = self._inner.join(deadline)
        if not self._timer.close(_CLOSE_TIMEOUT):
            _LOGGER.warning("the timer of batches did not end within %g s", _CLOSE_TIMEOUT)
        return abandoned

    # With the lock held

    def _hand_over(self, batches: list[Batch]) -> None:
        if batches:
            self._ready += sum(map(len, batches))
            self._inner.submit_many(batches)

    def _set_timer(self) -> None:
        """One call is on its way at a time: it looks when the next batch is due."""
        if not self._timer_runs and self._filling.due_at is not None:
            self._timer_runs = True
            self._timer.call(self._look, max(0.001, self._filling.due_at - time.monotonic()))

    # On the timer's thread

    def _look(self) -> None:
        with self._lock:
            self._timer_runs = False
            if self._accepting:
                if due := self._filling.take_due(time.monotonic()):
                    self._hand_over([due])
                self._set_timer()

    # On the executor's threads, or the event loop

    def _run(self, batch: Batch) -> None:
        with self._lock:
            self._ready -= len(batch)
        self._handle(batch)

    async def _run_async(self, batch: Batch) -> None:
        with self._lock:
            self._ready -= len(batch)
        await self._handle_async(batch)
