"""Consuming on one link: one channel for one consumer, subscribed again after whatever happens to it, until it is cancelled.

Deliveries are keyed by (connection epoch, channel serial, delivery tag). A settlement that does not belong to the channel
of this moment is dropped and counted: on another channel the same tag would be another message. A basic.cancel from the
broker is a fault (the queue was deleted or moved), never a silent end.
"""

from __future__ import annotations

import enum
import itertools
import logging
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pika import exceptions as pika_exceptions

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.declaring import Declaring
from rmqpool.amqp.deliveries import delivery_from
from rmqpool.amqp.failures import channel_closed, connection_lost
from rmqpool.amqp.io_thread import Timer
from rmqpool.amqp.link import Link
from rmqpool.amqp.opening import new_channel
from rmqpool.core.backoff import Backoff
from rmqpool.errors import ChannelLimitError, ConnectionFailedError, NotFoundError, PoolClosedError, RmqpoolError
from rmqpool.message import Delivery
from rmqpool.topology import Topology

__all__ = ["ConsumeSpec", "ConsumerEvent", "ConsumerStatus", "Consuming"]

_LOGGER = logging.getLogger("rmqpool")
_SERIALS = itertools.count(1)
_AGAIN = Backoff(0.1, 5.0)


class ConsumerEvent(enum.StrEnum):
    """What ``on_event`` is told, each with a sentence."""

    READY = "ready"
    CANCELLED_BY_BROKER = "cancelled_by_broker"
    CHANNEL_CLOSED = "channel_closed"
    CONNECTION_LOST = "connection_lost"
    DECLARE_FAILED = "declare_failed"
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


class Consuming:
    """The consuming actor of a link. ``settle``, ``cancel``, ``close`` and ``status`` are thread-safe.

    ``on_delivery`` and ``on_event`` are called on the I/O thread and must not block.
    """

    def __init__(
        self,
        link: Link,
        spec: ConsumeSpec,
        on_delivery: Callable[[Delivery], None],
        on_event: Callable[[ConsumerEvent, str], None],
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self.spec = spec
        self.ready = threading.Event()
        self.cancelled = threading.Event()
        self._link = link
        self._on_delivery = on_delivery
        self._on_event = on_event
        self._random = random_fraction
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._settlements: deque[tuple[Delivery, str, bool]] = deque()
        self._awake = False
        self._connection: Connection | None = None
        self._channel: Any = None
        self._epoch = 0
        self._serial = 0
        self._tag = ""
        self._cancelling = False
        self._closed = False
        self._first = True
        self._failures = 0
        self._again: Timer | None = None
        self._outstanding: set[int] = set()
        self._delivered = self._settled = self._stale = self._doubled = self._subscriptions = 0
        self._last_error: RmqpoolError | None = None

    # From any thread

    def settle(self, delivery: Delivery, verdict: str, *, requeue: bool = False) -> bool:
        """Hand ``ack``, ``nack`` or ``reject`` over to the I/O thread; False if it was settled before or is stale.

        True means handed over, not written: if the connection or the channel is lost in that moment it is still dropped
        and counted as stale, and the broker delivers the message again.
        """
        if self._link.ended:  # also in a forked child: the delivery is the parent's
            self._count_stale()
            return False
        with self._lock:
            if delivery.settled:
                self._doubled += 1
                return False
            if (delivery.epoch, delivery.channel_serial) != (self._epoch, self._serial):
                self._stale += 1
                return False
            delivery.settled = verdict
        self._settlements.append((delivery, verdict, requeue))
        if not self._awake:
            self._awake = True
            self._link.post(self._write_settlements)
        return True

    def _count_stale(self) -> None:
        if os.getpid() != self._owner:  # a thread that stayed in the parent may have held the lock
            self._stale += 1
            return
        with self._lock:
            self._stale += 1

    def is_current(self, delivery: Delivery) -> bool:
        """True while ``delivery`` can still be settled: its channel is the one of this moment, and it is unsettled."""
        return not delivery.settled and (delivery.epoch, delivery.channel_serial) == (self._epoch, self._serial)

    def cancel(self) -> None:
        """Ask the broker for no more deliveries; what was delivered can still be settled. ``cancelled`` tells when done."""
        self._link.post(self._cancel)

    def close(self) -> None:
        """Close the channel: what was not settled goes back to its queue."""
        self._link.post(self._close)

    def status(self) -> ConsumerStatus:
        """The figures of this moment."""
        return ConsumerStatus(
            self.spec.queue,
            self.ready.is_set(),
            len(self._outstanding),
            self._delivered,
            self._settled,
            self._stale,
            self._doubled,
            self._subscriptions,
            self._last_error,
        )

    # The link speaks

    def link_up(self, connection: Connection, epoch: int) -> None:
        self._connection = connection
        with self._lock:
            self._epoch = epoch
        self._failures = 0
        if not self._cancelling:
            self._subscribe()

    def link_down(self, error: RmqpoolError) -> None:
        self._forget_channel()
        self._connection = None
        self._last_error = error
        if self._cancelling or isinstance(error, PoolClosedError):
            self.cancelled.set()
        else:
            self._tell(ConsumerEvent.CONNECTION_LOST, str(error))

    def link_blocked(self, reason: str) -> None: ...
    def link_unblocked(self) -> None: ...

    def link_refused(self, error: ConnectionFailedError) -> None:
        self._last_error = error

    # Subscribing (I/O thread)

    def _subscribe(self) -> None:
        self._again = None
        connection = self._connection
        if connection is None or not connection.is_open or self._cancelling or self._channel is not None:
            return
        declare = self.spec.declare if self._first or self.spec.redeclare else ()
        if declare:
            Declaring(self._link, connection, declare, self._on_declared).start()
        else:
            self._open_channel()

    def _on_declared(self, error: RmqpoolError | None) -> None:
        if isinstance(error, ChannelLimitError):
            if self._channel is None and self._connection is not None:
                self._lost_subscription(ConsumerEvent.CHANNEL_CLOSED, error)
            return
        # Somebody else's topology is no reason not to work.
        if error is not None and not isinstance(error, PoolClosedError):
            self._last_error = error
            _LOGGER.error("the topology of queue %r could not be declared: %s", self.spec.queue, error)
            self._tell(ConsumerEvent.DECLARE_FAILED, str(error))
        self._open_channel()

    def _open_channel(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_open or self._cancelling or self._channel is not None:
            return
        try:
            self._channel = new_channel(self._link, connection, self._on_channel_open, self._on_channel_closed)
        except ChannelLimitError as error:
            self._lost_subscription(ConsumerEvent.CHANNEL_CLOSED, error)

    def _on_channel_open(self, channel: Any) -> None:
        if channel is not self._channel:
            channel.close()  # closed, or lost, while it was opening
            return
        with self._lock:
            self._serial = next(_SERIALS)
        contained = self._link.contained
        channel.add_on_cancel_callback(contained(lambda _: self._on_broker_cancel(channel)))
        channel.basic_qos(prefetch_count=self.spec.prefetch, callback=contained(lambda _: self._consume(channel)))

    def _consume(self, channel: Any) -> None:
        if channel is not self._channel or self._cancelling:
            self._finish_cancel()
            return
        self._tag = channel.basic_consume(
            self.spec.queue,
            self._link.contained(self._on_message),
            exclusive=self.spec.exclusive,
            arguments=dict(self.spec.arguments) or None,
            callback=self._link.contained(lambda _: self._on_subscribed()),
        )

    def _on_subscribed(self) -> None:
        self._first = False
        self._failures = 0
        self._subscriptions += 1
        self.ready.set()
        self._tell(ConsumerEvent.READY, f"consuming from queue {self.spec.queue!r}")

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._delivered += 1
        self._outstanding.add(method.delivery_tag)
        delivery = delivery_from(
            method,
            properties,
            body,
            queue=self.spec.queue,
            epoch=self._epoch,
            channel_serial=self._serial,
            settler=self,
        )
        try:
            self._on_delivery(delivery)
        except BaseException:  # a sys.exit() in it must not end the I/O thread
            _LOGGER.exception("on_delivery of queue %r failed: the message goes back to the queue", self.spec.queue)
            delivery.reject(requeue=True)  # counts towards the delivery limit of a quorum queue

    # Losing the channel (I/O thread)

    def _on_broker_cancel(self, channel: Any) -> None:
        if channel is not self._channel:
            return
        error = NotFoundError(
            f"the broker cancelled the consumer of queue {self.spec.queue!r} (deleted, or moved to another node); "
            + ("it is declared and consumed again" if self.spec.redeclare else "it is consumed again once it is there"),
            code=404,
            text="basic.cancel",
        )
        self._lost_subscription(ConsumerEvent.CANCELLED_BY_BROKER, error)
        if channel.is_open:
            channel.close()

    def _on_channel_closed(self, channel: Any, reason: BaseException) -> None:
        if channel is not self._channel or self._connection is None or not self._connection.is_open:
            return
        if isinstance(reason, pika_exceptions.ChannelClosed):
            error: RmqpoolError = channel_closed(reason.reply_code, reason.reply_text, f"consuming {self.spec.queue!r}")
        else:
            error = connection_lost(reason, self._link.name)
        self._lost_subscription(ConsumerEvent.CHANNEL_CLOSED, error)

    def _lost_subscription(self, event: ConsumerEvent, error: RmqpoolError) -> None:
        self._forget_channel()
        self._last_error = error
        if self._cancelling:
            self._finish_cancel()
            return
        _LOGGER.warning("the consumer of queue %r lost its channel: %s", self.spec.queue, error)
        self._tell(event, str(error))
        self._failures += 1
        delay = 0.0 if self._failures == 1 else _AGAIN.delay(self._failures, self._random())
        self._again = self._link.call_later(delay, self._subscribe)

    def _forget_channel(self) -> None:
        """From here on every delivery of the old channel is stale."""
        with self._lock:
            self._serial = 0
        self.ready.clear()
        self._awake = False  # should an error have kept the settlements from being written
        self._channel = None
        self._tag = ""
        self._outstanding.clear()

    # Settling and ending (I/O thread)

    def _write_settlements(self) -> None:
        self._awake = False
        while self._settlements:
            delivery, verdict, requeue = self._settlements.popleft()
            current = (delivery.epoch, delivery.channel_serial) == (self._epoch, self._serial)
            if not current or self._channel is None or not self._channel.is_open:
                self._count_stale()
                continue
            self._outstanding.discard(delivery.delivery_tag)
            self._settled += 1
            _settle_on(self._channel, delivery.delivery_tag, verdict, requeue)

    def _cancel(self) -> None:
        self._cancelling = True
        self.ready.clear()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._channel is None or not self._channel.is_open or not self._tag:
            self._finish_cancel()
            return
        self._channel.basic_cancel(self._tag, callback=self._link.contained(lambda _: self._finish_cancel()))

    def _finish_cancel(self) -> None:
        self.cancelled.set()

    def _close(self) -> None:
        self._write_settlements()
        if self._closed:
            return
        self._closed = True
        self._cancelling = True
        channel = self._channel
        self._forget_channel()
        if channel is not None and channel.is_open:
            channel.close()
        self._link.detach(self)
        self.cancelled.set()
        self._tell(ConsumerEvent.STOPPED, f"no longer consuming from queue {self.spec.queue!r}")

    def _tell(self, event: ConsumerEvent, sentence: str) -> None:
        try:
            self._on_event(event, sentence)
        except BaseException:  # a sys.exit() in it must not end the I/O thread
            _LOGGER.exception("an event listener of the consumer of %r failed", self.spec.queue)

    def __repr__(self) -> str:
        return f"<Consuming {self.spec.queue!r} on {self._link.name}, {len(self._outstanding)} outstanding>"


def _settle_on(channel: Any, tag: int, verdict: str, requeue: bool) -> None:
    if verdict == "ack":
        channel.basic_ack(tag)
    elif verdict == "nack":
        channel.basic_nack(tag, requeue=requeue)
    else:
        channel.basic_reject(tag, requeue=requeue)
