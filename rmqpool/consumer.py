"""A consumer of one queue on the pool's consume connections: low-level, for those who bring their own threads.

Most services use a Worker instead; it stands on this.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Self

from rmqpool.amqp.consume_session import is_current
from rmqpool.amqp.consume_values import ConsumerEvent, ConsumerStatus, ConsumeSpec
from rmqpool.amqp.consuming import Consuming
from rmqpool.errors import ConfigurationError, PoolTimeoutError
from rmqpool.message import Delivery
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Queue, Topology, checked_topology

__all__ = ["BatchConsumer", "Consumer", "ConsumerEvent", "ConsumerStatus", "is_current"]

_LOGGER = logging.getLogger("rmqpool")
_SETTLING_DOWN = 5.0  # seconds
QUORUM_PREFETCH_MAX = 2000  # https://www.rabbitmq.com/docs/quorum-queues: no unlimited prefetch


class BatchConsumer:
    """Delivers the messages of ``queue`` to ``on_deliveries``, as many at once as came in one read, in order.

    Everything else is as with :class:`Consumer`. What ``on_deliveries`` raises gives all of them back to the queue.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        queue: str | Queue,
        on_deliveries: Callable[[list[Delivery]], None],
        *,
        prefetch: int = 100,
        declare: Iterable[Topology] = (),
        redeclare: bool = True,
        on_event: Callable[[ConsumerEvent, str], None] | None = None,
    ) -> None:
        name = queue.name if isinstance(queue, Queue) else queue
        _check_prefetch(queue, prefetch)
        self._queue = queue
        topology = checked_topology((*((queue,) if isinstance(queue, Queue) else ()), *declare))
        self._pool = pool
        self._spec = ConsumeSpec(name, prefetch, topology, redeclare)
        self._on_event = on_event or (lambda event, sentence: None)
        self._link = pool.consume_link()
        self._consuming = Consuming(self._link, self._spec, on_deliveries, self._on_event)
        self._closed = False
        self._answered_in = 0.0  # seconds
        self._link.attach(self._consuming)

    @property
    def is_ready(self) -> bool:
        """True while the broker knows this consumer."""
        return self._consuming.ready.is_set()

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until the consumer is subscribed. Raises why the broker does not let us in, or PoolTimeoutError."""
        deadline = time.monotonic() + timeout
        self._link.wait_ready(deadline)
        if not self._consuming.ready.wait(max(0.0, deadline - time.monotonic())):
            error = self._consuming.status().last_error
            raise PoolTimeoutError(
                f"the consumer of queue {self._spec.queue!r} is not ready after {timeout:g} s ({error or 'no error yet'})"
            ) from error

    def is_current(self, delivery: Delivery) -> bool:
        """True while ``delivery`` can still be settled; False once it is settled, or its channel is gone (stale)."""
        return self._consuming.is_current(delivery)

    def cancel(self, timeout: float = 5.0) -> bool:
        """Get no more deliveries; what was delivered can still be settled. False if the broker did not answer in time."""
        asked_at = time.monotonic()
        self._consuming.cancel()
        answered = self._consuming.cancelled.wait(timeout)
        self._answered_in = time.monotonic() - asked_at
        return answered

    def pace(self, prefetch: int) -> None:
        """Have so many messages delivered ahead from now on; 0 pauses. Unsettled deliveries stay, and can be settled.

        Returns at once. While it is paused it is not ready. Raises ConfigurationError.
        """
        if prefetch:
            _check_prefetch(self._queue, prefetch)
        self._consuming.pace(prefetch)

    @property
    def prefetch(self) -> int:
        """The prefetch that is wanted; 0 while it is paused."""
        return self._consuming.prefetch

    @property
    def is_connected(self) -> bool:
        """True while there is a connection to consume on, whether or not the broker delivers."""
        return self._consuming.is_connected

    def outstanding(self) -> list[Delivery]:
        """What was delivered and not settled, in the order of arrival; stale at once if the channel is lost."""
        return self._consuming.outstanding()

    def resubscribe(self) -> None:
        """Consume anew on the same channel. Unsettled deliveries stay, and can be settled. Returns at once."""
        self._consuming.resubscribe()

    def reopen(self, why: str) -> None:
        """Consume anew on another channel: what is unsettled goes back to the queue. Returns at once."""
        self._consuming.reopen(why)

    def reconnect(self, why: str) -> None:
        """Consume anew on another connection, with all consumers that share this one. Returns at once."""
        self._consuming.reconnect(why)

    def status(self) -> ConsumerStatus:
        """The figures of this moment."""
        return self._consuming.status()

    def close(self) -> None:
        """Close the channel; whatever was not settled goes back to the queue. Idempotent.

        Takes up to three seconds after many acknowledgements: RabbitMQ would forget some of those of a quorum queue.
        """
        if not self._closed:
            self._closed = True
            classic = isinstance(self._queue, Queue) and self._queue.type == "classic"
            if not (classic or self._link.on_io_thread):
                settled_down = threading.Event()
                self._consuming.settle_down(self._answered_in, settled_down.set)
                settled_down.wait(_SETTLING_DOWN)
            self._consuming.close()
            self._pool.release_consume_link(self._link)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        status = self._consuming.status()
        state = "ready" if status.ready else "not ready"
        counts = f"{status.outstanding} unsettled, {status.delivered} delivered"
        return f"<{type(self).__name__} of {status.queue!r} {state}, {counts}>"


class Consumer(BatchConsumer):
    """Delivers the messages of ``queue`` to ``on_delivery`` until it is closed, through reconnects and deleted queues.

    ``queue`` is a name, or a :class:`Queue` that is declared (with its dead-letter queue) before each subscription.
    ``prefetch`` is the number of messages delivered and not yet settled. ``on_delivery`` and ``on_event`` run on the
    connection's I/O thread: they must hand over and return at once. Every delivery must be settled by
    ``delivery.ack()``, ``nack()`` or ``reject()``, from any thread. ``redeclare=False``: a deleted queue stays deleted,
    and the consumer stays unready until somebody declares it. Thread-safe.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        queue: str | Queue,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int = 100,
        declare: Iterable[Topology] = (),
        redeclare: bool = True,
        on_event: Callable[[ConsumerEvent, str], None] | None = None,
    ) -> None:
        if not callable(on_delivery) or iscoroutinefunction(on_delivery):
            raise ConfigurationError(
                f"on_delivery is {on_delivery!r}; give a plain function, which returns at once. A Worker takes async def handlers"
            )
        self._on_delivery = on_delivery
        super().__init__(
            pool,
            queue,
            self._on_each,
            prefetch=prefetch,
            declare=declare,
            redeclare=redeclare,
            on_event=on_event,
        )

    def _on_each(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            try:
                self._on_delivery(delivery)
            except BaseException:  # a sys.exit() in it must not end the I/O thread
                _LOGGER.exception("on_delivery of queue %r failed: the message goes back to it", self._spec.queue)
                delivery.reject(requeue=True)  # counts towards the delivery limit of a quorum queue


def _check_prefetch(queue: str | Queue, prefetch: int) -> None:
    name = queue.name if isinstance(queue, Queue) else queue
    if isinstance(prefetch, bool) or not isinstance(prefetch, int) or not 1 <= prefetch <= 65535:
        raise ConfigurationError(f"prefetch of queue {name!r} is {prefetch!r}; give 1 to 65535 messages")
    if isinstance(queue, Queue) and queue.type == "quorum" and prefetch > QUORUM_PREFETCH_MAX:
        raise ConfigurationError(f"prefetch of quorum queue {name!r} is {prefetch}; RabbitMQ takes at most 2000")
