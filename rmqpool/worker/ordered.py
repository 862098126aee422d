"""Order by key in front of an executor: a delivery begins when the one before it of its key has ended.

The key function is the user's, and may be slow: it never runs on an I/O thread, but on a thread that this owns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any

from rmqpool.core.key_order import KeyOrder
from rmqpool.message import Delivery
from rmqpool.worker.executors import InFront, MakeExecutor
from rmqpool.worker.later import Later

__all__ = ["OrderedExecutor"]

Keyed = tuple[Hashable, Delivery]

_LOGGER = logging.getLogger("rmqpool")
_CLOSE_TIMEOUT = 1.0  # seconds


class OrderedExecutor(InFront[Keyed]):
    """Gives deliveries to the executor that ``make`` makes, of each key one at a time. ``submit_many`` never blocks: it is
    for the I/O thread. ``refuse`` gets the deliveries whose key cannot be told, and why.

    A handling that has ended lets the next of its key begin, however it ended. Only a delivery that stays in the worker,
    because the inbox postponed it or because its next attempt comes soon (:meth:`hold`), keeps its place until it was
    handled, or sent on to a queue of the broker after all (:meth:`release`).
    """

    def __init__(
        self,
        name: str,
        key: Callable[[Delivery], Hashable],
        refuse: Callable[[Delivery, BaseException], None],
        handle: Callable[[Delivery], None],
        handle_async: Callable[[Delivery], Coroutine[Any, Any, None]],
        make: MakeExecutor[Keyed],
    ) -> None:
        self._key = key
        self._refuse = refuse
        self._handle = handle
        self._handle_async = handle_async
        self._lock = threading.Lock()
        self._arrived: deque[Delivery] = deque()
        self._unsorted = 0  # arrived, and their key is not known yet
        self._sorts = False  # a call of _sort is on its way
        self._order: KeyOrder[Delivery] = KeyOrder()
        self._held: dict[Delivery, bool] = {}  # kept; True when it was handed over again before its handling ended
        self._left: dict[Delivery, Hashable] = {}  # kept, and its handling has ended
        self._accepting = True
        self._finishing = False
        self._begun = threading.Event()  # nothing more will begin: the inner executor can be waited for
        self._sorter = Later(f"{name} keys")
        self._inner = make(self._run, self._run_async)

    @property
    def waiting(self) -> int:
        """Deliveries that were not begun yet."""
        return self._unsorted + self._order.waiting + self._inner.waiting

    def submit_many(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries over. Once this stops nothing is taken: the closing channel gives them back."""
        with self._lock:
            if not self._accepting:
                return
            self._arrived.extend(deliveries)
            self._unsorted += len(deliveries)
            if self._sorts:
                return
            self._sorts = True
        self._sorter.call(self._sort)

    def submit_again(self, delivery: Delivery) -> None:
        """Hand over one that was handled before: in its own place if it was held, or behind the others of its key."""
        with self._lock:
            if delivery in self._held:
                self._held[delivery] = True
                return
            if delivery in self._left:
                self._begin_again(self._left.pop(delivery), delivery)
                return
        self.submit_many((delivery,))

    def hold(self, delivery: Delivery) -> None:
        """It will be handled again: no other of its key begins until :meth:`submit_again`, or :meth:`release`."""
        with self._lock:
            if delivery not in self._left:
                self._held[delivery] = False

    def release(self, delivery: Delivery) -> None:
        """It will not be handled again after all: the next of its key may begin. Nothing happens if it was not held."""
        with self._lock:
            self._held.pop(delivery, None)
            if delivery in self._left:
                self._go_on(self._left.pop(delivery))

    def stop(self) -> list[Delivery]:
        """Begin nothing more; returns what was not begun. Running handlers go on: see :meth:`join`."""
        with self._lock:
            self._accepting = False
            left = [delivery for _, delivery in self._inner.stop()]
            left += self._order.take_waiting()
            left += self._arrived
            self._arrived.clear()
            self._unsorted = 0
            self._begun.set()
            return left

    def finish(self) -> None:
        """Handle what has arrived, then end."""
        with self._lock:
            self._accepting = False
            self._finishing = True
            self._finish_if_idle()

    def join(self, deadline: float) -> int:
        """Wait for running handlers until ``deadline`` (monotonic); returns how many still ran then."""
        self._begun.wait(max(0.0, deadline - time.monotonic()))
        abandoned = self._inner.join(deadline)
        if not self._sorter.close(_CLOSE_TIMEOUT):
            _LOGGER.warning("a key function did not return within %g s", _CLOSE_TIMEOUT)
        return abandoned

    # On the thread of the keys

    def _sort(self) -> None:
        with self._lock:
            self._sorts = False
        while True:
            try:
                delivery = self._arrived.popleft()
            except IndexError:  # also when stop() took them
                return
            try:
                self._sort_one(delivery)
            except BaseException as error:  # noqa: BLE001 - the user's function, and the key's own __hash__ and __eq__
                self._refuse(delivery, error)
            with self._lock:
                self._unsorted = max(0, self._unsorted - 1)
                self._finish_if_idle()

    def _sort_one(self, delivery: Delivery) -> None:
        key = self._key(delivery)
        with self._lock:
            stopped = not (self._accepting or self._finishing)  # the closing channel gives it back then
            if not stopped and self._order.arrive(key, delivery):
                self._inner.submit_many([(key, delivery)])

    # On the executor's threads, or the event loop

    def _run(self, item: Keyed) -> None:
        try:
            self._handle(item[1])
        finally:
            self._ended(*item)

    async def _run_async(self, item: Keyed) -> None:
        try:
            await self._handle_async(item[1])
        finally:
            self._ended(*item)

    def _ended(self, key: Hashable, delivery: Delivery) -> None:
        with self._lock:
            handed_over_again = self._held.pop(delivery, None)
            if handed_over_again is False:
                self._left[delivery] = key
            elif handed_over_again is True:
                self._begin_again(key, delivery)
            else:
                self._go_on(key)

    # With the lock held

    def _begin_again(self, key: Hashable, delivery: Delivery) -> None:
        if self._accepting:
            self._inner.submit_many([(key, delivery)])
        else:  # it stays unacknowledged, so it comes again
            self._go_on(key)

    def _go_on(self, key: Hashable) -> None:
        following = self._order.end(key)
        if following is not None:
            self._inner.submit_many([(key, following)])
        self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        if self._finishing and not self._unsorted and not self._order.in_hand:
            self._finishing = False
            self._inner.finish()
            self._begun.set()
