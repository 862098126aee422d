"""What a consumer is told to consume, what it tells, and its figures: values only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rmqpool.errors import RmqpoolError
from rmqpool.topology import Topology

__all__ = ["ConsumeSpec", "ConsumerEvent", "ConsumerStatus"]


class ConsumerEvent(enum.StrEnum):
    """What ``on_event`` is told, each with a sentence."""

    READY = "ready"
    CANCELLED_BY_BROKER = "cancelled_by_broker"
    CHANNEL_CLOSED = "channel_closed"
    CONNECTION_LOST = "connection_lost"
    DECLARE_FAILED = "declare_failed"
    STALLED = "stalled"  # the broker delivers nothing, although it has something
    HEALED = "healed"
    PAUSED = "paused"
    RESUMED = "resumed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ConsumeSpec:
    """What to consume, and how. ``prefetch`` is in messages; ``declare`` is declared before each subscription.

    ``redeclare`` False: a queue that was deleted stays deleted, and the consumer stays unready until it is there again.
    """

    queue: str
    prefetch: int
    declare: tuple[Topology, ...] = ()
    redeclare: bool = True
    exclusive: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """A consumer at one moment. ``stale`` and ``doubled`` count settlements that were dropped."""

    queue: str
    ready: bool
    outstanding: int
    delivered: int
    settled: int
    stale: int
    doubled: int
    subscriptions: int
    last_error: RmqpoolError | None
