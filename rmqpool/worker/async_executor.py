"""Runs coroutine functions on one event loop of the worker, on a thread of its own; each consumer within its concurrency.

The I/O thread appends to a deque and wakes the loop once for a batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

__all__ = ["AsyncExecutor", "LoopThread"]

_LOGGER = logging.getLogger("rmqpool")
Item = TypeVar("Item")  # a delivery, or what is handled at once
_CANCEL_SECONDS = 1.0  # what a cancelled handler gets to clean up


class LoopThread:
    """One event loop on a daemon thread, started by the first consumer that needs it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop

    def run(self, coroutine: Coroutine[Any, Any, None], timeout: float) -> bool:
        """Run ``coroutine`` on the loop to its end; False if it has not ended after ``timeout`` seconds."""
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self.start()).result(timeout)
        except TimeoutError:
            return False
        return True

    def close(self, timeout: float) -> bool:
        """End the loop; False if it still runs after ``timeout`` seconds, because something blocks it."""
        if self._loop is None or self._thread is None:
            return True
        try:
            self._loop.call_soon_threadsafe(self._loop.stop)
        except RuntimeError:  # closed already
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


class AsyncExecutor(Generic[Item]):
    """At most ``concurrency`` handlings at once on the loop. ``submit_many`` never blocks: it is for the I/O thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, concurrency: int, handle: Callable[[Item], Coroutine[Any, Any, None]]
    ) -> None:
        self._loop = loop
        self._concurrency = concurrency
        self._handle = handle
        self._arrived: deque[Item] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._awake = False
        self._accepting = True
        self._ended = threading.Event()
        self.cancelling = False

    @property
    def in_progress(self) -> int:
        """Handlers running now."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Deliveries that were not begun yet."""
        return len(self._arrived)

    def submit_many(self, deliveries: Iterable[Item]) -> None:
        """Hand deliveries over. Once this stops nothing is taken: the closing channel gives them back."""
        if not self._accepting:
            return
        self._arrived.extend(deliveries)
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._begin)

    def submit_again(self, delivery: Item) -> None:
        """Hand over one that was handled before; from the worker's background thread."""
        self.submit_many((delivery,))

    def stop(self) -> list[Item]:
        """Begin nothing more; returns what was not begun. Running handlers go on: see :meth:`join`."""
        self._accepting = False
        left: list[Item] = []
        while self._arrived:
            try:
                left.append(self._arrived.popleft())
            except IndexError:  # the loop took the last one
                break
        self._loop.call_soon_threadsafe(self._end_if_idle)
        return left

    def finish(self) -> None:
        """Handle what has arrived."""
        self._accepting = False
        self._loop.call_soon_threadsafe(self._begin)

    def join(self, deadline: float) -> int:
        """Wait until nothing runs, until ``deadline`` (monotonic), then cancel; returns how many were cancelled."""
        if self._ended.wait(max(0.0, deadline - time.monotonic())):
            return 0
        abandoned = len(self._tasks)
        self.cancelling = True
        self._loop.call_soon_threadsafe(self._cancel_all)
        self._ended.wait(_CANCEL_SECONDS)
        return abandoned

    # On the loop

    def _begin(self) -> None:
        self._awake = False
        while self._arrived and len(self._tasks) < self._concurrency:
            try:
                delivery = self._arrived.popleft()
            except IndexError:  # stop() took the last one
                break
            task = self._loop.create_task(self._handle(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        self._end_if_idle()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOGGER.error("the worker itself failed on a message", exc_info=task.exception())
        self._begin()

    def _end_if_idle(self) -> None:
        if not self._accepting and not self._tasks and not self._arrived:
            self._ended.set()

    def _cancel_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        self._end_if_idle()
