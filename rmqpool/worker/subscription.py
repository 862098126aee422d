"""One consumer of a running worker: the low-level consumer, the executor behind it, and its counters."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from rmqpool.amqp.deliveries import has_priority
from rmqpool.consumer import BatchConsumer, ConsumerEvent, is_current
from rmqpool.core.ports import AsyncInboxPort, InboxPort
from rmqpool.errors import PoolTimeoutError
from rmqpool.message import Delivery
from rmqpool.pool import ConnectionPool
from rmqpool.worker.assembly import assemble
from rmqpool.worker.async_executor import LoopThread
from rmqpool.worker.consumer_control import ConsumerControl
from rmqpool.worker.default_middleware import with_default_middleware
from rmqpool.worker.guards import Guards
from rmqpool.worker.later import Later
from rmqpool.worker.limits import with_time_limit
from rmqpool.worker.parking import Parking, ParkingPlace
from rmqpool.worker.registration import ConsumerDefinition
from rmqpool.worker.stats import ConsumerStats, Counters

if TYPE_CHECKING:
    from rmqpool.worker.children.caller import ChildCaller

__all__ = ["Subscription"]

_LOGGER = logging.getLogger("rmqpool")
_CLOSE_TIMEOUT = 5.0  # seconds
_KILLED_TIMEOUT = 5.0  # seconds until a thread notices that its child is dead
_QUIET_EVENTS = (ConsumerEvent.READY, ConsumerEvent.STOPPED, ConsumerEvent.HEALED, ConsumerEvent.RESUMED)


class Subscription:
    """Consumes one queue with one handler. ``broker_dead_letters``: the queue's dead-letter target was declared."""

    def __init__(
        self,
        definition: ConsumerDefinition,
        *,
        name: str,
        pool: ConnectionPool,
        parking: Parking,
        later: Later,
        loop: LoopThread,
        broker_dead_letters: bool,
    ) -> None:
        self.definition = definition = with_default_middleware(definition)
        self.counters = Counters()
        self.children: ChildCaller | None = None
        definition = self._prepared(definition, name)
        self._pool = pool
        self._parking = parking
        self._consumer: BatchConsumer | None = None
        self._guards: Guards | None = None
        self._priorities_noticed = definition.queue.type == "classic"
        self._place = place = ParkingPlace(
            definition.parking(),
            definition.redeclare,
            broker_dead_letters,
            self.counters,
            is_current,
            tells=definition.reply != "never",
        )
        self._control = ConsumerControl(definition, later, self._on_event)
        self._loop = loop
        self._executor = assemble(definition, f"{name} {self.queue}", self.counters, parking, place, later, loop)

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self.definition.queue.name

    @property
    def _is_single_active(self) -> bool:
        return self.definition.queue.single_active_consumer

    @property
    def is_ready(self) -> bool:
        """True while the broker delivers to it, and no middleware pauses it."""
        if self._consumer is None or (self._guards is not None and self._guards.is_healing):
            return False
        return self._consumer.is_ready and not self._control.paused

    @property
    def in_hand(self) -> int:
        """Deliveries that are not settled yet, as the broker knows it."""
        return self._consumer.status().outstanding if self._consumer is not None else 0

    @property
    def delivered(self) -> int:
        """Messages received so far."""
        return self._consumer.status().delivered if self._consumer is not None else 0

    def start(self) -> None:
        """Subscribe; goes on by itself through whatever happens to the connection."""
        definition = self.definition
        if definition.inbox is not None:
            definition.inbox.open(definition.concurrency)
        self._control.begin()
        self._consumer = BatchConsumer(
            self._pool,
            definition.queue,
            self._on_deliveries,
            prefetch=definition.messages_ahead,
            declare=(definition.parking(), *definition.ladder()),
            redeclare=definition.redeclare,
            on_event=self._on_event,
        )
        self._control.take(self._consumer)
        self._guards = Guards(
            definition,
            self._consumer,
            self._executor,
            pool=self._pool,
            parking=self._parking,
            place=self._place,
            on_event=self._on_event,
        )

    def look(self) -> float:
        """What is looked at from time to time, on the supervisor thread; returns the seconds until it is due again."""
        return self._guards.look() if self._guards is not None else math.inf

    def wait_ready(self, timeout: float) -> None:
        """Wait until the broker delivers, or middleware pauses it; errors as for :meth:`rmqpool.Consumer.wait_ready`."""
        if self._consumer is not None and not self._control.paused:
            try:
                self._consumer.wait_ready(timeout)
            except PoolTimeoutError:
                if not self._control.paused:
                    raise

    def _prepared(self, definition: ConsumerDefinition, name: str) -> ConsumerDefinition:
        """With the function that is called here: one with a limit, or one that has it done elsewhere."""
        if definition.executor != "process":
            return replace(definition, handler=with_time_limit(definition.handler, definition.limits.time_limit))
        from rmqpool.worker.children.caller import ChildCaller

        self.children = ChildCaller(definition, self.counters, name, is_current)
        return replace(definition, handler=self.children.handler)

    # Ending, in this order

    def request_stop(self) -> None:
        """Nothing that takes long is begun any more. Thread-safe; returns at once."""
        if self.children is not None:
            self.children.begin_stop()

    def cancel(self, timeout: float) -> None:
        """Ask the broker for no more deliveries.

        A single active consumer stays subscribed until nothing is in hand: the next one would begin at once.
        """
        if self._is_single_active:
            return
        if self._consumer is not None and not self._consumer.cancel(timeout):
            _LOGGER.warning(
                "the broker did not confirm within %g s that queue %r is consumed no more", timeout, self.queue
            )

    def begin_no_more(self) -> None:
        """What was not begun goes back to its queue, for other workers."""
        self.request_stop()
        left = self._executor.stop()
        if self._is_single_active:  # behind what runs: with the channel, once that has ended
            self.counters.add("requeued", sum(map(is_current, left)))
            return
        for delivery in left:
            if delivery.nack(requeue=True):
                self.counters.add("requeued")

    def finish(self) -> None:
        """Handle everything that has arrived."""
        self._executor.finish()

    def join(self, deadline: float) -> int:
        """Wait for running handlers until ``deadline`` (monotonic); returns how many were abandoned."""
        abandoned = self._executor.join(deadline)
        if abandoned:
            self.counters.add("abandoned", abandoned)
            _LOGGER.error(
                "%d handlers of queue %r did not end in time; their messages come again", abandoned, self.queue
            )
        if abandoned and self.children is not None:
            self.children.kill_busy()
            self._executor.join(time.monotonic() + _KILLED_TIMEOUT)  # each gives its message back
        return abandoned

    def close(self) -> None:
        """Close the channel: whatever is not settled goes back to its queue."""
        if self._consumer is not None:
            self._consumer.close()
        try:
            if self._consumer is not None:
                self._close_inbox()
        finally:
            self._control.end()

    def _close_inbox(self) -> None:
        inbox = self.definition.inbox
        if isinstance(inbox, InboxPort) and not inbox.is_async:
            inbox.close()
        elif inbox is not None and not self._loop.run(cast("AsyncInboxPort", inbox).close(), _CLOSE_TIMEOUT):
            _LOGGER.warning("the inbox of queue %r did not close within %g s", self.queue, _CLOSE_TIMEOUT)

    def stats(self) -> ConsumerStats:
        """The figures of this moment."""
        counts = self.counters.values()
        status = self._consumer.status() if self._consumer is not None else None
        counts["stale"] += status.stale if status is not None else 0
        return ConsumerStats(
            **counts,
            queue=self.queue,
            ready=self.is_ready,
            in_progress=self._executor.in_progress,
            waiting=self._executor.waiting,
            delivered=self.delivered,
            prefetch=self._consumer.prefetch if self._consumer is not None else 0,
            paused=self._control.paused,
            last_error=str(status.last_error or "") if status is not None else "",
        )

    def _on_deliveries(self, deliveries: list[Delivery]) -> None:
        """On the I/O thread."""
        if not self._priorities_noticed and any(map(has_priority, deliveries)):
            self._notice_priority()
        self._executor.submit_many(deliveries)

    def _notice_priority(self) -> None:
        """A priority that is ignored is a surprise: say so once."""
        self._priorities_noticed = True
        kind = self.definition.queue.type
        if self.definition.queue.passive:
            return  # of which kind it is, nobody told us
        if kind == "quorum" and (self._pool.broker_generation or 0) >= 4:
            return  # two levels there: https://www.rabbitmq.com/docs/quorum-queues#priorities
        _LOGGER.warning(
            "messages of queue %r carry a priority, which a %s queue of this broker ignores: use a queue for each "
            "priority, or a classic queue with max_priority",
            self.queue,
            kind,
        )

    def _on_event(self, event: ConsumerEvent, sentence: str) -> None:
        """On the I/O thread, the supervisor's, or one that middleware runs on."""
        _LOGGER.log(logging.INFO if event in _QUIET_EVENTS else logging.WARNING, "%s", sentence)
