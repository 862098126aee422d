"""What is looked at from time to time while a consumer runs: its prefetch, the age of its messages, and its silence."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from rmqpool.consumer import BatchConsumer, ConsumerEvent
from rmqpool.core.delivery_watch import DeliveryWatch
from rmqpool.core.prefetch import AdaptivePrefetch, PrefetchPlan
from rmqpool.pool import ConnectionPool
from rmqpool.worker import pacing
from rmqpool.worker.consumer_watchdog import ConsumerWatchdog
from rmqpool.worker.pacing import Pacing
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.registration import ConsumerDefinition
from rmqpool.worker.timeout_guard import TimeoutGuard

__all__ = ["Guards", "Handlers"]

_LOGGER = logging.getLogger("rmqpool")
_AFTER_A_FAILURE = 5.0  # seconds


class Handlers(Protocol):
    """What runs the handlers, seen from outside."""

    @property
    def in_progress(self) -> int:
        """Handlers running now."""
        ...

    @property
    def waiting(self) -> int:
        """Deliveries that were not begun yet."""
        ...


class Guards:
    """The guards of one consumer. ``look`` is for the worker's supervisor thread."""

    def __init__(
        self,
        definition: ConsumerDefinition,
        consumer: BatchConsumer,
        handlers: Handlers,
        *,
        pool: ConnectionPool,
        parking: Parking,
        place: ParkingPlace,
        on_event: Callable[[ConsumerEvent, str], None],
    ) -> None:
        queue = definition.queue
        self._concurrency = definition.concurrency
        self._handlers = handlers
        self._pacing: Pacing | None = None
        if isinstance(definition.prefetch, AdaptivePrefetch):
            self._pacing = Pacing(queue.name, consumer, PrefetchPlan(definition.prefetch, definition.concurrency))
        self._timeout_guard = TimeoutGuard(definition, parking, place, consumer.outstanding)
        # A passive queue may have a single active consumer without our knowing: a stand-by must not be taken for stalled.
        others_first = queue.single_active_consumer or queue.passive
        watch = DeliveryWatch(definition.guards.stalled_after, others_first=others_first)
        self._watchdog = ConsumerWatchdog(queue.name, consumer, pool, watch, place.counters, on_event)
        self._schedule: list[_Turn] = []
        if math.isfinite(self._timeout_guard.timeout):
            self._schedule.append(_Turn(self._guard))
        if math.isfinite(definition.guards.stalled_after):
            self._schedule.append(_Turn(self._watch))
        if self._pacing is not None:
            self._schedule.append(_Turn(self._pace))

    @property
    def is_healing(self) -> bool:
        """True while the consumer gets nothing although its queue holds something."""
        return self._watchdog.is_healing

    def look(self) -> float:
        """Look at what is due; returns the seconds until something is due again. Raises nothing."""
        for turn in self._schedule:
            now = time.monotonic()
            if now >= turn.due:
                try:
                    turn.due = now + turn.look(now)
                except Exception:
                    turn.due = now + _AFTER_A_FAILURE
                    _LOGGER.exception("a guard of the worker failed; it looks again in %g s", _AFTER_A_FAILURE)
        return max(0.0, min((turn.due for turn in self._schedule), default=math.inf) - time.monotonic())

    def _pace(self, now: float) -> float:
        if self._pacing is not None:
            self._pacing.look(now, in_progress=self._handlers.in_progress, waiting=self._handlers.waiting)
        return pacing.LOOK_EVERY

    def _guard(self, now: float) -> float:
        self._timeout_guard.look(now)
        return self._timeout_guard.look_every

    def _watch(self, now: float) -> float:
        free = self._handlers.waiting == 0 and self._handlers.in_progress < self._concurrency
        self._watchdog.look(now, free=free)
        return self._watchdog.pause


class _Turn:
    """Something that is looked at from time to time; ``look`` gets the time and returns the seconds until the next one."""

    __slots__ = ("due", "look")

    def __init__(self, look: Callable[[float], float]) -> None:
        self.look = look
        self.due = 0.0
