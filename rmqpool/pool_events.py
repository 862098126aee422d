"""What a pool tells its listener beside the events of its connections: values."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from rmqpool.amqp.link_values import LinkEvent

__all__ = ["EventListener", "PoolEvent"]


class PoolEvent(enum.StrEnum):
    """What ``on_event`` listeners are told of leased channels, and of the pool as a whole; each with a sentence."""

    CHANNEL_OPENED = "channel_opened"
    CHANNEL_CLOSED = "channel_closed"
    CHANNEL_LOST = "channel_lost"
    ACQUIRE_TIMED_OUT = "acquire_timed_out"
    ACQUIRE_REFUSED = "acquire_refused"
    LEASE_OVERDUE = "lease_overdue"
    LEASE_RETURNED = "lease_returned"
    LEASE_DROPPED = "lease_dropped"
    RESIZED = "resized"
    DRAINED = "drained"
    POOL_CLOSED = "pool_closed"


EventListener: TypeAlias = "Callable[[LinkEvent | PoolEvent, str, str], None]"
"""Gets the event, the connection's name, and a sentence."""
