"""A pool's publish connections size themselves: the scaler decides, on a connection's timer, and the pool follows.

Growing replaces the connections by more of them, because a thread changes its connection only where its order is kept:
from one that takes nothing new, and behind what it left there. Shrinking retires the surplus.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import weakref
from collections.abc import Callable
from typing import Final

from rmqpool.amqp.link import Link
from rmqpool.core.autoscale import Autoscale, Change, Scaler
from rmqpool.errors import PoolClosedError
from rmqpool.pool_events import PoolEventKind
from rmqpool.publish_connections import PublishConnections

__all__ = ["ConnectionScaling"]

_LOGGER = logging.getLogger("rmqpool")
_LOOK: Final = 0.25  # seconds between two looks


class ConnectionScaling:
    """Looks at ``connections`` as long as they live; ``tell`` hears of each change.

    What counts as waiting are callers for whom a window has no room; as in use, the windows that the messages on their way
    would fill. While a connection is not ready, or blocked, everybody waits, however many there are: nothing is decided.
    """

    def __init__(self, policy: Autoscale, count: int, tell: Callable[[PoolEventKind, str, str], None]) -> None:
        self._scaler = Scaler(policy, count)
        self._tell = tell
        # The timers of a link must not hold the pool: one that is dropped is to be noticed.
        self._connections: Callable[[], PublishConnections | None] = lambda: None

    @property
    def count(self) -> int:
        """How many connections there are to be at the beginning: within the bounds."""
        return self._scaler.size

    def begin(self, connections: PublishConnections) -> None:
        """These are to be looked at."""
        self._connections = weakref.ref(connections)

    def watch(self, link: Link) -> None:
        """A new connection: the first of those that take messages is the one on whose timer is decided."""
        link.post(lambda: self._later(link))

    def _later(self, link: Link) -> None:
        link.call_later(_LOOK, lambda: self._look(link))

    def _look(self, link: Link) -> None:
        connections = self._connections()
        if connections is None or link not in connections.links:
            return  # dropped, closed, or retired
        self._later(link)
        if link is connections.links[0] and all(
            other.is_ready and other.blocked is None for other in connections.links
        ):
            self._decide(connections, link)

    def _decide(self, connections: PublishConnections, link: Link) -> None:
        windows = connections.windows()
        self._scaler.resized(len(windows))
        now = time.monotonic()
        change = self._scaler.look(
            now,
            math.ceil(sum(window.fullness for window in windows)),
            sum(window.waiting for window in windows),
            max(window.oldest_wait(now) for window in windows),
        )
        if change is not None:
            self._follow(connections, link, len(windows), change)

    def _follow(self, connections: PublishConnections, link: Link, before: int, change: Change) -> None:
        _LOGGER.info("connection %s, publish connections: %s", link.name, change.because)
        with contextlib.suppress(PoolClosedError):  # closed just now: its connections end anyway
            if change.size > before:
                connections.grow(change.size)
            else:
                connections.resize(change.size)
        self._tell(PoolEventKind.RESIZED, link.name, f"publish connections: {change.because}")
