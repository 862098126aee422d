"""The consume connections of a pool: made on demand, each consumer on the one that has the fewest of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rmqpool.amqp.link import Link, LinkStatus

__all__ = ["ConsumeConnections"]


class ConsumeConnections:
    """At most ``count`` links, made by ``make``. Thread-safe."""

    def __init__(self, make: Callable[[], Link], count: int) -> None:
        self._make = make
        self._count = count
        self._lock = threading.Lock()
        self._consumers: dict[Link, int] = {}

    @property
    def links(self) -> tuple[Link, ...]:
        """Those that were made."""
        return tuple(self._consumers)

    def take(self) -> Link:
        """The link with the fewest consumers, for one more; another one while there are fewer than ``count``."""
        with self._lock:
            if len(self._consumers) < self._count:
                link = self._make()
                self._consumers[link] = 0
            link = min(self._consumers, key=self._consumers.__getitem__)
            self._consumers[link] += 1
            return link

    def release(self, link: Link) -> None:
        """A consumer left its link."""
        with self._lock:
            if self._consumers.get(link):
                self._consumers[link] -= 1

    def resize(self, count: int) -> None:
        """For links made from now on; consumers stay where they are."""
        self._count = count

    def close(self) -> tuple[Link, ...]:
        """Forget all links; returns them, to be ended."""
        with self._lock:
            links, self._consumers = self.links, {}
        return links

    def statuses(self) -> tuple[LinkStatus, ...]:
        """What each link is doing."""
        return tuple(link.status() for link in self.links)

    def abandon_after_fork(self) -> None:
        """In a forked child: the parent's connections are not ours, and nobody else runs here yet."""
        for link in self.links:
            link.abandon_after_fork()
