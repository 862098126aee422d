"""Consuming on one link: one channel for one consumer, subscribed again after whatever happens to it, until it is cancelled.

Each channel has a session of its own, which holds its deliveries and their settlements: what belongs to another channel is
dropped and counted there. A basic.cancel from the broker is a fault (the queue was deleted or moved), never a silent end.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Any

from pika import exceptions as pika_exceptions

from rmqpool.amqp.cancelling import cancel_consumer, close_consuming
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.consume_session import ConsumeSession, SettlementCounts
from rmqpool.amqp.consume_values import ConsumerEvent, ConsumerStatus, ConsumeSpec
from rmqpool.amqp.failures import channel_closed, connection_lost
from rmqpool.amqp.io_thread import Timer
from rmqpool.amqp.link import Link
from rmqpool.amqp.opening import new_channel
from rmqpool.amqp.redeclaring import Redeclaring
from rmqpool.amqp.settling_down import settle_down
from rmqpool.core.backoff import Backoff
from rmqpool.errors import (
    ChannelClosedError,
    ChannelLimitError,
    ConnectionFailedError,
    ConnectionLostError,
    NotFoundError,
    PoolClosedError,
    RmqpoolError,
)
from rmqpool.message import Delivery

__all__ = ["Consuming"]

_LOGGER = logging.getLogger("rmqpool")
_AGAIN = Backoff(0.1, 5.0)


class Consuming:
    """The consuming actor of a link. ``is_current``, ``cancel``, ``close`` and ``status`` are thread-safe.

    ``on_deliveries`` gets what came in one read, in order; it and ``on_event`` are called on the I/O thread and must not
    block.
    """

    def __init__(
        self,
        link: Link,
        spec: ConsumeSpec,
        on_deliveries: Callable[[list[Delivery]], None],
        on_event: Callable[[ConsumerEvent, str], None],
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self.spec = spec
        self.ready = threading.Event()
        self.cancelled = threading.Event()
        self._link = link
        self._on_deliveries = on_deliveries
        self._on_event = on_event
        self._random = random_fraction
        self._counts = SettlementCounts()
        self._connection: Connection | None = None
        self._epoch = 0
        self._channel: Any = None
        self._session: ConsumeSession | None = None  # from the moment the channel is open
        self._tag = ""
        self._prefetch = spec.prefetch  # what is wanted; 0: no deliveries for now
        self._pacing = False  # the subscription is being ended, to begin again with another prefetch
        self._cancelling = False
        self._closed = False
        self._first = True
        self._redeclaring = Redeclaring(link)
        self._failures = 0
        self._again: Timer | None = None
        self._subscriptions = 0
        self._last_error: RmqpoolError | None = None

    # From any thread

    def is_current(self, delivery: Delivery) -> bool:
        """True while ``delivery`` can still be settled: its channel is the one of this moment, and it is unsettled."""
        session = self._session
        return session is not None and delivery.settler is session and session.holds(delivery)

    def cancel(self) -> None:
        """Ask the broker for no more deliveries; what was delivered can still be settled. ``cancelled`` tells when done."""
        self._link.post(self._cancel)

    def pace(self, prefetch: int) -> None:
        """Have so many messages delivered ahead from now on; 0: none, until a later call. What is unsettled stays so.

        A prefetch belongs to a subscription (AMQP 0-9-1, 1.8.3.1 as RabbitMQ reads it): the old one is cancelled, and a
        new one begun on the same channel.
        """
        self._link.post(lambda: self._pace(prefetch))

    def resubscribe(self) -> None:
        """End the subscription, and begin it again on the same channel; what is unsettled stays so."""
        self._link.post(self._resubscribe)

    def reopen(self, why: str) -> None:
        """Go on with another channel: what is unsettled goes back to its queue. ``why`` is told as the loss of the old one."""
        self._link.post(lambda: self._reopen(why))

    def reconnect(self, why: str) -> None:
        """Drop the connection, which is opened again, with everything that stands on it."""
        self._link.post(lambda: self._reconnect(why))

    def outstanding(self) -> list[Delivery]:
        """What nobody has settled, on the channel of this moment, in the order of arrival."""
        session = self._session
        return list(session.outstanding.values()) if session is not None else []

    @property
    def prefetch(self) -> int:
        """What is wanted; 0 while it is paused."""
        return self._prefetch

    @property
    def is_connected(self) -> bool:
        """True while there is a connection to consume on."""
        return self._connection is not None and self._link.is_ready

    def settle_down(self, answered_in: float, done: Callable[[], None]) -> None:
        """Call ``done`` once what was settled outlives a close; ``answered_in``: seconds that the broker took for a cancel."""
        if not self._link.post(lambda: settle_down(self._link, self._connection, self._session, answered_in, done)):
            done()

    def close(self) -> None:
        """Close the channel: what was not settled goes back to its queue."""
        self._link.post(self._close)

    def status(self) -> ConsumerStatus:
        """The figures of this moment."""
        session, counts = self._session, self._counts
        return ConsumerStatus(
            self.spec.queue,
            self.ready.is_set(),
            session.unwritten if session is not None else 0,
            counts.delivered,
            counts.settled,
            counts.stale,
            counts.doubled,
            self._subscriptions,
            self._last_error,
        )

    # The link speaks

    def link_up(self, connection: Connection, epoch: int) -> None:
        self._connection = connection
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
            self._redeclaring.start(connection, declare, self._on_declared)
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
            self._channel = new_channel(
                self._link,
                connection,
                self._on_channel_open,
                lambda channel, reason: self._on_channel_closed(connection, channel, reason),
            )
        except ChannelLimitError as error:
            self._lost_subscription(ConsumerEvent.CHANNEL_CLOSED, error)

    def _on_channel_open(self, channel: Any) -> None:
        if channel is not self._channel:
            channel.close()  # closed, or lost, while it was opening
            return
        self._session = ConsumeSession(
            self._link, channel, self.spec.queue, self._epoch, self._counts, self._take, self._write_settlements
        )
        contained = self._link.contained
        channel.add_on_cancel_callback(contained(lambda _: self._on_broker_cancel(channel)))
        self._begin_to_consume(channel)

    def _begin_to_consume(self, channel: Any) -> None:
        if self._prefetch:
            consume = self._link.contained(lambda _: self._consume(channel))
            channel.basic_qos(prefetch_count=self._prefetch, callback=consume)

    def _pace(self, prefetch: int) -> None:
        if prefetch == self._prefetch:
            return
        self._prefetch = prefetch
        channel = self._channel
        if not prefetch:
            self.ready.clear()
        if self._cancelling or self._pacing or self._session is None or not channel.is_open:
            return  # whoever subscribes next looks at the prefetch then
        if self._tag:
            self._pacing = True
            tag, self._tag = self._tag, ""
            cancel_consumer(channel, tag, self._link.contained(lambda _: self._paced(channel)))
        else:
            self._begin_to_consume(channel)

    def _paced(self, channel: Any) -> None:
        if channel is self._channel:
            self._pacing = False
            if not self._cancelling:
                self._begin_to_consume(channel)

    def _consume(self, channel: Any) -> None:
        if self._cancelling:
            self._finish_cancel()
            return
        if channel is not self._channel:
            return  # closed, or lost, while the prefetch was being set
        if self._tag or not self._prefetch:
            return  # another prefetch was asked for meanwhile
        session = self._session
        if self._connection is None or session is None:
            return
        self._connection.listen(channel.channel_number, session)  # where it reads nothing, pika calls back as ever
        self._tag = channel.basic_consume(
            self.spec.queue,
            self._link.contained(session.on_message),
            exclusive=self.spec.exclusive,
            arguments=dict(self.spec.arguments) or None,
            callback=self._link.contained(lambda _: self._on_subscribed()),
        )

    def _on_subscribed(self) -> None:
        if self._cancelling or not self._prefetch:
            return  # basic.cancel follows basic.consume: it was never ready
        self._first = False
        self._failures = 0
        self._subscriptions += 1
        self.ready.set()
        self._tell(ConsumerEvent.READY, f"consuming from queue {self.spec.queue!r}")

    def _take(self, deliveries: list[Delivery]) -> None:
        try:
            self._on_deliveries(deliveries)
        except BaseException:  # a sys.exit() in it must not end the I/O thread
            _LOGGER.exception(
                "the deliveries of queue %r could not be handed over: they go back to it", self.spec.queue
            )
            for delivery in deliveries:
                delivery.reject(requeue=True)  # counts towards the delivery limit of a quorum queue

    # Losing the channel (I/O thread)

    def _resubscribe(self) -> None:
        if prefetch := self._prefetch:
            self._pace(0)
            self._pace(prefetch)

    def _reopen(self, why: str) -> None:
        channel = self._channel
        if channel is not None and not self._cancelling:
            self._lost_subscription(ConsumerEvent.CHANNEL_CLOSED, ChannelClosedError(why, code=0, text=why))
            if channel.is_open:
                close_consuming(channel)

    def _reconnect(self, why: str) -> None:
        if self._connection is not None and not self._cancelling:
            self._connection.abort(ConnectionLostError(why))

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

    def _on_channel_closed(self, connection: Connection, channel: Any, reason: BaseException) -> None:
        connection.unlisten(channel.channel_number)
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
        session, self._session = self._session, None
        if session is not None:
            session.lose()
        self.ready.clear()
        self._channel = None
        self._tag = ""
        self._pacing = False

    # Settling and ending (I/O thread)

    def _write_settlements(self, session: ConsumeSession) -> None:
        session.write(self._connection)

    def _cancel(self) -> None:
        self._cancelling = True
        self.ready.clear()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._channel is None or not self._channel.is_open or not self._tag:
            self._finish_cancel()
            return
        cancel_consumer(self._channel, self._tag, self._link.contained(lambda _: self._finish_cancel()))

    def _finish_cancel(self) -> None:
        self.cancelled.set()

    def _close(self) -> None:
        if self._closed:
            return
        if self._session is not None:
            self._write_settlements(self._session)
        self._closed = True
        self._cancelling = True
        channel = self._channel
        self._forget_channel()
        if channel is not None and channel.is_open:
            close_consuming(channel)
        self._link.detach(self)
        self.cancelled.set()
        self._tell(ConsumerEvent.STOPPED, f"no longer consuming from queue {self.spec.queue!r}")

    def _tell(self, event: ConsumerEvent, sentence: str) -> None:
        try:
            self._on_event(event, sentence)
        except BaseException:  # a sys.exit() in it must not end the I/O thread
            _LOGGER.exception("an event listener of the consumer of %r failed", self.spec.queue)

    def __repr__(self) -> str:
        return f"<Consuming {self.spec.queue!r} on {self._link.name}, {self.status().outstanding} outstanding>"
