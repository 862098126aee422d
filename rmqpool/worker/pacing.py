"""Keeps a consumer's prefetch at what its plan says. For the worker's supervisor thread."""

from __future__ import annotations

import logging

from rmqpool.consumer import BatchConsumer
from rmqpool.core.prefetch import PrefetchPlan

__all__ = ["LOOK_EVERY", "Pacing"]

_LOGGER = logging.getLogger("rmqpool")
LOOK_EVERY = 0.1  # seconds


class Pacing:
    """Paces ``consumer`` of ``queue`` by ``plan``."""

    def __init__(self, queue: str, consumer: BatchConsumer, plan: PrefetchPlan) -> None:
        self._queue = queue
        self._consumer = consumer
        self._plan = plan

    def look(self, now: float, *, in_progress: int, waiting: int) -> None:
        """Look at the figures, and change the prefetch if that is worth it. A pause of the consumer is left alone."""
        plan, prefetch = self._plan, self._consumer.prefetch
        if not prefetch:
            return
        before = plan.current = prefetch
        status = self._consumer.status()
        changed = plan.look(
            now,
            settled=status.settled,
            in_progress=in_progress,
            waiting=waiting,
            outstanding=status.outstanding,
        )
        if changed is not None:
            _LOGGER.info(
                "queue %r: prefetch %d instead of %d; a message takes %.3g s",
                self._queue,
                changed,
                before,
                plan.seconds,
            )
            self._consumer.pace(changed)
