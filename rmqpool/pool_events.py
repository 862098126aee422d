"""What every pool tells its listener: one kind of value, with one set of names, of connections, channels and resources."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["EventListener", "PoolEvent", "PoolEventKind"]


class PoolEventKind(enum.StrEnum):
    """What an event tells."""

    # Of the connections of a ConnectionPool; the texts are those of its links' own events.
    CONNECTED = "connected"
    CONNECTION_LOST = "connection_lost"
    CONNECT_FAILED = "connect_failed"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    FAULT = "fault"
    # Of its leased channels.
    CHANNEL_OPENED = "channel_opened"
    CHANNEL_CLOSED = "channel_closed"
    CHANNEL_LOST = "channel_lost"
    LEASE_DROPPED = "lease_dropped"
    # Of the resources of a ResourcePool.
    OPENED = "opened"
    OPEN_FAILED = "open_failed"
    RECONNECT_FAILED = "reconnect_failed"
    """Opening failed for ``reconnect_timeout`` seconds without a success: whoever waited was told; the pool goes on."""
    CLOSE_FAILED = "close_failed"
    CHECK_FAILED = "check_failed"
    RESET_FAILED = "reset_failed"
    # Of every pool.
    CLOSED = "closed"
    """A connection, or a resource, was closed by the pool."""
    ACQUIRE_TIMED_OUT = "acquire_timed_out"
    ACQUIRE_REFUSED = "acquire_refused"
    LEASE_OVERDUE = "lease_overdue"
    """A lease lasts longer than ``leak_after``."""
    LEASE_RETURNED = "lease_returned"
    """One that was overdue came back after all."""
    RESIZED = "resized"
    DRAINED = "drained"
    POOL_CLOSED = "pool_closed"


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """Something changed in a pool. ``pool`` is its name, of a ConnectionPool without one its URL, the password masked.

    ``sentence`` says what happened, ``error`` why, if something failed. ``connection`` is the name of the AMQP connection
    that it is about, empty if it is about the pool, or about a resource.
    """

    kind: PoolEventKind
    pool: str
    sentence: str
    error: BaseException | None = None
    connection: str = ""


EventListener: TypeAlias = Callable[[PoolEvent], object]
"""Gets each event, on any thread: it must not block."""
