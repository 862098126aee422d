"""Heals a consumer that the broker no longer knows, or to which it delivers nothing. For the worker's supervisor thread."""

from __future__ import annotations

from collections.abc import Callable

from rmqpool.consumer import BatchConsumer, ConsumerEvent
from rmqpool.core.delivery_watch import DeliveryWatch, Sight, Step
from rmqpool.errors import RmqpoolError
from rmqpool.pool import ConnectionPool
from rmqpool.worker.stats import Counters

__all__ = ["ConsumerWatchdog"]

_TIMEOUT = 2.0  # seconds for the broker's answer
_DONE = {
    Step.RESUBSCRIBE: "it is subscribed anew",
    Step.REOPEN: "it gets another channel",
    Step.RECONNECT: "its connection is opened again",
}


class ConsumerWatchdog:
    """Watches ``consumer`` of ``queue``. ``on_event`` is told of each step, and when it is over."""

    def __init__(
        self,
        queue: str,
        consumer: BatchConsumer,
        pool: ConnectionPool,
        watch: DeliveryWatch,
        counters: Counters,
        on_event: Callable[[ConsumerEvent, str], None],
    ) -> None:
        self._queue = queue
        self._consumer = consumer
        self._pool = pool
        self._watch = watch
        self._count = counters.add
        self._on_event = on_event
        self._answer = ""

    @property
    def is_healing(self) -> bool:
        """True while the consumer gets nothing although there is something."""
        return self._watch.is_healing

    @property
    def pause(self) -> float:
        """Seconds after which to look again."""
        return self._watch.pause

    def look(self, now: float, *, free: bool) -> None:
        """Look at the consumer; ``free``: a handler waits for a message. Asks the broker after a silence only."""
        status, prefetch = self._consumer.status(), self._consumer.prefetch
        sight = Sight(
            status.delivered,
            free and status.outstanding < prefetch,
            status.ready,
            self._consumer.is_connected,
            prefetch > 0,
        )
        step = self._watch.look(now, sight)
        if step is Step.ASK:
            step = self._ask(now)
        self._carry_out(step, answers=status.ready)

    def _ask(self, now: float) -> Step:
        try:
            with self._pool.channel(_TIMEOUT) as channel:
                told = channel.queue_declare(self._queue, passive=True, timeout=_TIMEOUT)
        except RmqpoolError:
            self._watch.not_told(now)
            return Step.NOTHING
        self._answer = f"{told.message_count} messages ready, {told.consumer_count} consumers"
        return self._watch.told(now, ready=told.message_count, consumers=told.consumer_count)

    def _carry_out(self, step: Step, *, answers: bool) -> None:
        if step is Step.NOTHING:
            return
        if step is Step.HEALED:
            self._count("healed")
            self._on_event(ConsumerEvent.HEALED, f"the consumer of queue {self._queue!r} is served again")
            return
        if answers:
            why = f"the broker delivers nothing to the consumer of queue {self._queue!r} ({self._answer})"
        else:
            why = f"the broker does not answer the consumer of queue {self._queue!r}"
        if step is Step.RESUBSCRIBE:
            self._count("stalled")
            self._consumer.resubscribe()
        elif step is Step.REOPEN:
            self._consumer.reopen(why)
        else:
            self._consumer.reconnect(why)
        self._on_event(ConsumerEvent.STALLED, f"{why}: {_DONE[step]}")
