"""The words of a link: its states, its events, its status, and what stands on it. Nothing is decided here."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import Protocol

from rmqpool.amqp.connection import Connection
from rmqpool.errors import ConnectionFailedError, RmqpoolError

__all__ = ["DOING", "Actor", "Blocked", "LinkEvent", "LinkState", "LinkStatus"]


class LinkState(enum.StrEnum):
    """Where a link is in its life."""

    NEW = "new"
    CONNECTING = "connecting"
    READY = "ready"
    WAITING = "waiting"  # between two attempts
    REFUSED = "refused"  # between two attempts, far apart: the broker does not let us in
    CLOSING = "closing"
    CLOSED = "closed"


DOING = {
    LinkState.NEW: "it was not started",
    LinkState.CONNECTING: "connecting",
    LinkState.WAITING: "waiting for the next attempt",
    LinkState.REFUSED: "refused by the broker",
}
"""What a link that is not ready is doing, as a clause for errors."""


class LinkEvent(enum.StrEnum):
    """What ``on_event`` listeners are told, each with a sentence."""

    CONNECTED = "connected"
    CONNECTION_LOST = "connection_lost"
    CONNECT_FAILED = "connect_failed"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    FAULT = "fault"
    CLOSED = "closed"


class Actor(Protocol):
    """Stands on a link; every method is called on the I/O thread."""

    def link_up(self, connection: Connection, epoch: int) -> None: ...
    def link_down(self, error: RmqpoolError) -> None: ...
    def link_blocked(self, reason: str) -> None: ...
    def link_unblocked(self) -> None: ...
    def link_refused(self, error: ConnectionFailedError) -> None: ...


class Blocked:
    """Whether the broker blocks a connection (https://www.rabbitmq.com/docs/connection-blocked), and for how long it did."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._since = 0.0
        self._seconds = 0.0

    def begin(self, reason: str) -> None:
        """connection.blocked came."""
        if self.reason is None:
            self._since = time.monotonic()
        self.reason = reason

    def end(self) -> None:
        """connection.unblocked came, or the connection is gone."""
        self._seconds, self.reason = self.seconds, None

    @property
    def seconds(self) -> float:
        """All seconds so far."""
        return self._seconds + (time.monotonic() - self._since if self.reason is not None else 0.0)


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link at one moment. ``epoch`` counts the connections opened so far; ``blocked`` is the broker's reason or None."""

    name: str
    state: LinkState
    epoch: int
    blocked: str | None
    blocked_seconds: float
    last_error: RmqpoolError | None
    broker: str
    address: str
    attempts: int
