"""Since when middleware keeps which deliveries waiting: bounded, because some of them never come back."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from rmqpool.message import Delivery

__all__ = ["WaitingRoom"]

_MOST = 10_000  # five times the largest prefetch of a quorum queue
Entry = TypeVar("Entry")
Key = tuple[int, int, int, int]


class WaitingRoom(Generic[Entry]):
    """An entry for each delivery, made by ``make`` when it is first asked for. Thread-safe.

    A delivery whose channel is gone is never asked for again: beyond 10,000 the oldest entries are forgotten.
    """

    def __init__(self, make: Callable[[], Entry]) -> None:
        self._make = make
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def entry(self, delivery: Delivery) -> Entry:
        """The entry of a delivery, perhaps a new one."""
        key = _key(delivery)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = self._make()
                if len(self._entries) > _MOST:
                    self._entries.popitem(last=False)
            return entry

    def leave(self, delivery: Delivery) -> Entry | None:
        """Forget a delivery; returns its entry if it had one."""
        if not self._entries:
            return None
        with self._lock:
            return self._entries.pop(_key(delivery), None)


def _key(delivery: Delivery) -> Key:
    return id(delivery.settler), delivery.epoch, delivery.channel_serial, delivery.delivery_tag
