"""What a pool counts over all its connections, living and gone, from the events of its links. And who is told of events."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rmqpool.amqp.link import Link
from rmqpool.amqp.link_values import Blocked, LinkEvent
from rmqpool.core.histogram import Histogram, Times
from rmqpool.errors import ConnectionLostError
from rmqpool.pool_events import EventListener, PoolEvent, PoolEventKind

__all__ = ["Counts", "Figures"]

_LOGGER = logging.getLogger("rmqpool")
_FAILURES = (LinkEvent.CONNECT_FAILED, LinkEvent.CONNECTION_LOST)
_ENDS_A_BLOCK = (LinkEvent.UNBLOCKED, LinkEvent.CONNECTION_LOST, LinkEvent.FAULT, LinkEvent.CLOSED)


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the pool was made: connections opened, and opened again; errors by the name of their class; times in seconds."""

    connects: int
    reconnects: int
    errors: Mapping[str, int]
    connect_time: Times
    blocked_seconds: float


class Figures:
    """Counts, and passes events of the pool of that name on to ``listener``. Thread-safe."""

    def __init__(self, listener: EventListener | None, pool: str = "pool") -> None:
        self._listener = listener
        self._pool = pool
        self._lock = threading.Lock()
        self._connects = 0
        self._reconnects = 0
        self._errors: Counter[str] = Counter()
        self._connect_time = Histogram()
        self._known: set[str] = set()  # names of links that were connected before
        self._blocked: dict[str, Blocked] = {}
        self._blocked_before = 0.0  # by links that are gone

    def heard(self, link: Link, event: LinkEvent, sentence: str) -> None:
        """A link says this, on its I/O thread; what the listener raises is the link's to contain."""
        with self._lock:
            self._count(link, event)
        if self._listener is not None:
            error = link.last_error if event in _FAILURES else None
            self._listener(PoolEvent(PoolEventKind(event), self._pool, sentence, error, link.name))

    def tell(self, kind: PoolEventKind, connection: str, sentence: str, error: BaseException | None = None) -> None:
        """Tell the listener; what it raises is its own affair. ``connection`` is empty for what is the whole pool's."""
        if self._listener is None:
            return
        try:
            self._listener(PoolEvent(kind, self._pool, sentence, error, connection))
        except Exception:
            _LOGGER.exception("an event listener failed")

    def failed(self, error: BaseException) -> None:
        """Count an error."""
        with self._lock:
            self._errors[type(error).__name__] += 1

    def counts(self) -> Counts:
        """So far."""
        with self._lock:
            return Counts(
                self._connects,
                self._reconnects,
                MappingProxyType(dict(self._errors)),
                self._connect_time.times(),
                self._blocked_before + sum(blocked.seconds for blocked in self._blocked.values()),
            )

    def _count(self, link: Link, event: LinkEvent) -> None:
        if event is LinkEvent.CONNECTED:
            self._connects += 1
            self._connect_time.add(time.monotonic() - link.attempt_began)
            self._reconnects += link.name in self._known
            self._known.add(link.name)
        elif event is LinkEvent.FAULT:
            self._errors[ConnectionLostError.__name__] += 1
        elif event in (LinkEvent.CONNECT_FAILED, LinkEvent.CONNECTION_LOST) and link.last_error is not None:
            self._errors[type(link.last_error).__name__] += 1
        elif event is LinkEvent.BLOCKED:
            self._blocked.setdefault(link.name, Blocked()).begin(link.blocked or "blocked")
        if event in _ENDS_A_BLOCK and link.name in self._blocked:
            self._blocked[link.name].end()
        if event is LinkEvent.CLOSED:
            self._known.discard(link.name)
            gone = self._blocked.pop(link.name, None)
            self._blocked_before += gone.seconds if gone is not None else 0.0
