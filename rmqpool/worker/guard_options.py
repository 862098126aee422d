"""What ``@worker.consumer(...)`` was told of prefetch, consumer timeout and silence, checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from rmqpool.core.overdue import BROKER_TIMEOUT, Overdue
from rmqpool.core.prefetch import PREFETCH_MAX, AdaptivePrefetch
from rmqpool.errors import ConfigurationError
from rmqpool.topology import Queue

__all__ = [
    "BY_DEFAULT",
    "GuardOptions",
    "PrefetchOption",
    "broker_timeout",
    "check_queue_fits",
    "guard_options",
    "prefetch_option",
]

PrefetchOption = int | AdaptivePrefetch | Literal["adaptive"] | None


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """``delivery_timeout``: seconds, None for what the queue and the broker say. ``overdue``: what happens to a message
    whose handler does not end in that time. ``stalled_after``: seconds of silence before the broker is asked.
    """

    delivery_timeout: float | None = None
    overdue: Overdue = "park"
    stalled_after: float = 30.0


BY_DEFAULT: Final = GuardOptions()


def guard_options(delivery_timeout: float | None, overdue: Overdue, stalled_after: float) -> GuardOptions:
    """Raises ConfigurationError."""
    if overdue not in ("park", "requeue", "leave"):
        raise ConfigurationError(f"overdue is {overdue!r}; it must be 'park', 'requeue' or 'leave'")
    if delivery_timeout is not None:
        _seconds("delivery_timeout", delivery_timeout, "the broker's consumer_timeout, or None for its default")
    _seconds("stalled_after", stalled_after, "float('inf') if the broker is never to be asked")
    return GuardOptions(delivery_timeout, overdue, stalled_after)


def prefetch_option(prefetch: PrefetchOption) -> int | AdaptivePrefetch | None:
    """Raises ConfigurationError."""
    if prefetch is None or isinstance(prefetch, AdaptivePrefetch):
        return prefetch
    if prefetch == "adaptive":
        return AdaptivePrefetch()
    if isinstance(prefetch, bool) or not isinstance(prefetch, int) or not 1 <= prefetch <= PREFETCH_MAX:
        raise ConfigurationError(
            f"prefetch is {prefetch!r}; give a whole number from 1 to {PREFETCH_MAX}, or 'adaptive', or an AdaptivePrefetch"
        )
    return prefetch


def check_queue_fits(queue: Queue, prefetch: int | AdaptivePrefetch | None) -> None:
    """Raises ConfigurationError for a queue that a worker could not consume, or not in the way that it promises."""
    if queue.exclusive:
        raise ConfigurationError(
            f"queue {queue.name!r} is exclusive: only the connection that declares it may consume it, and a worker has one for "
            "each, and others in its other processes; for one consumer at a time give the queue single_active_consumer=True"
        )
    if queue.single_active_consumer and isinstance(prefetch, AdaptivePrefetch):
        raise ConfigurationError(
            f"queue {queue.name!r} has a single active consumer, and an adaptive prefetch subscribes anew with each change: "
            "another worker would get the next messages while some are in hand here; give a whole number"
        )


def broker_timeout(options: GuardOptions, of_queue: float | timedelta | None) -> float:
    """Seconds after which the broker closes the channel of what is not settled."""
    if options.delivery_timeout is not None:
        return options.delivery_timeout
    if of_queue is None:
        return BROKER_TIMEOUT
    return of_queue.total_seconds() if isinstance(of_queue, timedelta) else float(of_queue)


def _seconds(name: str, value: float, hint: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(f"{name} is {value!r}; give seconds, more than 0: {hint}")
