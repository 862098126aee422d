"""The hubs of an agent: those for publishing from the start, and one for each other purpose from its first client on.

A broker that blocks publishers reads nothing more from a connection that has published: whoever consumes must have another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from rmqpool.agent.hub import Hub
from rmqpool.amqp.purposes import Purpose

__all__ = ["Hubs"]

_APART = (Purpose.CONSUME, Purpose.LEASE)


class Hubs:
    """``make`` gets what a hub is for, and its number among those. Nothing is started yet. Thread-safe."""

    def __init__(self, make: Callable[[Purpose, int], Hub], count: int) -> None:
        self.publishing = tuple(make(Purpose.PUBLISH, number) for number in range(1, count + 1))
        self._make = make
        self._lock = threading.Lock()
        self._apart: dict[str, Hub] = {}
        self._closed = False

    @property
    def all(self) -> tuple[Hub, ...]:
        """Those that there are."""
        return (*self.publishing, *tuple(self._apart.values()))

    @property
    def needed(self) -> tuple[Hub, ...]:
        """Those that must be up. One that is only just being opened for its first client is none of them."""
        return tuple(
            hub for hub in self.all if hub in self.publishing or hub.link.status().epoch or hub.link.last_error
        )

    def place_of(self, purpose: str, there: Hub) -> Hub:
        """Where a client belongs that was let in at the hub ``there``. Its hub is made and started, if it is the first one."""
        if purpose not in _APART:
            return there
        with self._lock:
            hub = self._apart.get(purpose)
            if hub is None and not self._closed:
                hub = self._make(Purpose(purpose), 1)
                hub.link.start()
                self._apart[purpose] = hub
        return hub or there

    def close(self) -> tuple[Hub, ...]:
        """No other is made from here on; returns all."""
        with self._lock:
            self._closed = True
        return self.all
