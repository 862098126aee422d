"""The leased channel that users hold: pika's own method names as blocking, thread-safe calls. It dies on release.

Every call has a deadline (30 s unless told otherwise) and raises one of our errors. A channel that consumed, still has
unacknowledged deliveries, was put into confirm or transaction mode, or saw an error is thrown away on release.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from rmqpool.amqp.channel import BlockingChannel
from rmqpool.amqp.deliveries import delivery_from
from rmqpool.amqp.lease_confirms import LeaseConfirms, publish_properties
from rmqpool.amqp.lease_consumer import LeaseConsumer
from rmqpool.errors import LeaseReleasedError, PreconditionFailedError, RmqpoolError, TopologyMismatchError
from rmqpool.leasing import ChannelLeases, Ticket
from rmqpool.message import Delivery
from rmqpool.mismatch import explain_mismatch
from rmqpool.topology import Queue

__all__ = ["LeasedChannel", "QueueDeclared"]

_LOGGER = logging.getLogger("rmqpool")


class QueueDeclared(NamedTuple):
    """The answer to queue_declare: the name (the broker's, if it was asked for one), messages ready, consumers."""

    queue: str
    message_count: int
    consumer_count: int


class LeasedChannel:
    """A channel borrowed from the pool; a context manager that gives it back. Thread-safe.

    ``timeout`` of each call is in seconds; CallTimeoutError when no answer came by then. Errors of the broker are
    AccessRefusedError, NotFoundError, ResourceLockedError, PreconditionFailedError; the channel is closed afterwards, and
    every further call raises the same error: lease another one. After release every call raises LeaseReleasedError.
    """

    def __init__(self, leases: ChannelLeases, ticket: Ticket, call_timeout: float = 30.0) -> None:
        if ticket.channel is None:
            raise LeaseReleasedError("this ticket holds no channel")
        self._leases = leases
        self._ticket = ticket
        self._channel: BlockingChannel = ticket.channel
        self._timeout = call_timeout
        self._released = False
        self._lock = threading.Lock()
        self._unacked: set[int] = set()
        self._confirms: LeaseConfirms | None = None

    # The lease

    def release(self) -> None:
        """Give the channel back to its pool; a second release does nothing."""
        with self._lock:
            if self._released:
                return
            self._released = True
        if self._unacked and not self._channel.unclean:
            self._channel.unclean = f"{len(self._unacked)} deliveries were not acknowledged"
        self._leases.release(self._ticket, reusable=self._channel.is_open and not self._channel.unclean)

    @property
    def is_open(self) -> bool:
        """True while the lease lasts and the channel is open."""
        return not self._released and self._channel.is_open

    def __enter__(self) -> LeasedChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        if getattr(self, "_released", True) or self._leases.inherited:
            return
        sentence = f"a leased channel was never released; it was borrowed by thread {self._ticket.thread} at:"
        _LOGGER.error("%s\n%s", sentence, self._ticket.borrowed_at())
        warnings.warn(f"{sentence}\n{self._ticket.borrowed_at()}", ResourceWarning, stacklevel=2, source=self)
        self._released = True
        self._leases.reclaim(self._ticket)

    def __repr__(self) -> str:
        state = (
            "released" if self._released else ("open" if self._channel.is_open else f"closed: {self._channel.error}")
        )
        return f"<LeasedChannel {self._channel.serial} on {self._channel.link.name}, {state}>"

    # Exchanges

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """exchange.declare (AMQP 0-9-1, 1.6.2.1). ``passive`` only looks whether it is there."""
        self._call(
            lambda channel, reply: channel.exchange_declare(
                exchange, exchange_type, passive, durable, auto_delete, internal, _table(arguments), reply
            ),
            f"exchange_declare({exchange!r})",
            timeout,
        )

    def exchange_delete(self, exchange: str, if_unused: bool = False, timeout: float | None = None) -> None:
        """exchange.delete."""
        self._call(
            lambda channel, reply: channel.exchange_delete(exchange, if_unused, reply),
            f"exchange_delete({exchange!r})",
            timeout,
        )

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """exchange.bind, RabbitMQ's extension (https://www.rabbitmq.com/docs/e2e)."""
        self._call(
            lambda channel, reply: channel.exchange_bind(destination, source, routing_key, _table(arguments), reply),
            f"exchange_bind({destination!r})",
            timeout,
        )

    def exchange_unbind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """exchange.unbind, RabbitMQ's extension."""
        self._call(
            lambda channel, reply: channel.exchange_unbind(destination, source, routing_key, _table(arguments), reply),
            f"exchange_unbind({destination!r})",
            timeout,
        )

    # Queues

    def queue_declare(
        self,
        queue: str | Queue,
        passive: bool = False,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> QueueDeclared:
        """queue.declare (AMQP 0-9-1, 1.7.2.1), by name and flags as in pika, or by a :class:`Queue` value.

        Raises TopologyMismatchError, with the differences, if it exists with other arguments. A Queue value declares that
        queue only: its dead-letter queue is declared by Publisher and Worker, or by a call of its own.
        """
        if isinstance(queue, Queue):
            name, declared = queue.name, queue
            durable, exclusive, auto_delete = queue.durable, queue.exclusive, queue.auto_delete
            arguments = queue.declare_arguments()
        else:
            name, declared = queue, None
        try:
            answer = self._call(
                lambda channel, reply: channel.queue_declare(
                    name, passive, durable, exclusive, auto_delete, _table(arguments), reply
                ),
                f"queue_declare({name!r})",
                timeout,
            )
        except RmqpoolError as error:
            explained = _explained(error, name, declared)
            raise explained from (None if explained is error else error)
        method = answer.method
        return QueueDeclared(method.queue, method.message_count, method.consumer_count)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """queue.bind."""
        self._call(
            lambda channel, reply: channel.queue_bind(queue, exchange, routing_key, _table(arguments), reply),
            f"queue_bind({queue!r}, {exchange!r})",
            timeout,
        )

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """queue.unbind."""
        self._call(
            lambda channel, reply: channel.queue_unbind(queue, exchange, routing_key, _table(arguments), reply),
            f"queue_unbind({queue!r}, {exchange!r})",
            timeout,
        )

    def queue_purge(self, queue: str, timeout: float | None = None) -> int:
        """queue.purge; returns how many messages were dropped."""
        answer = self._call(
            lambda channel, reply: channel.queue_purge(queue, reply), f"queue_purge({queue!r})", timeout
        )
        return int(answer.method.message_count)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, timeout: float | None = None
    ) -> int:
        """queue.delete; returns how many messages went with it."""
        answer = self._call(
            lambda channel, reply: channel.queue_delete(queue, if_unused, if_empty, reply),
            f"queue_delete({queue!r})",
            timeout,
        )
        return int(answer.method.message_count)

    # Messages

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Any = None,
        mandatory: bool = False,
        timeout: float | None = None,
    ) -> None:
        """basic.publish. After :meth:`confirm_delivery` it waits for the confirm, otherwise nothing is known of the message.

        ``properties`` is a pika.BasicProperties or a mapping of its names. Raises UnroutableError, NackedError,
        UnknownOutcomeError (no confirm within ``timeout``) in confirm mode. Services publish with a Publisher instead.
        """
        self._check()
        seconds = self._timeout if timeout is None else timeout
        if self._confirms is not None:
            self._confirms.publish(exchange, routing_key, body, properties, mandatory, seconds)
            return
        checked = publish_properties(properties, self._channel.link.settings.frame_max)
        self._tell(
            lambda channel: channel.basic_publish(exchange, routing_key, body, checked, mandatory),
            f"basic_publish({exchange!r}, {routing_key!r})",
            timeout,
        )

    def confirm_delivery(self, timeout: float | None = None) -> None:
        """confirm.select: from here on basic_publish waits for the broker's confirm."""
        self._check()
        if self._confirms is None:
            self._channel.unclean = "it is in confirm mode"
            confirms = LeaseConfirms(self._channel)
            confirms.select(self._timeout if timeout is None else timeout)
            self._confirms = confirms

    def basic_get(self, queue: str, auto_ack: bool = False, timeout: float | None = None) -> Delivery | None:
        """basic.get: one message, or None if the queue is empty. Settle it through this channel or by the delivery."""
        self._check()
        answer = self._channel.get(queue, auto_ack, self._timeout if timeout is None else timeout)
        if answer is None:
            return None
        delivery = delivery_from(
            *answer,
            queue=queue,
            epoch=self._channel.epoch,
            channel_serial=self._channel.serial,
            settler=None if auto_ack else self,
        )
        if not auto_ack:
            self.received(delivery.delivery_tag)
        return delivery

    def basic_consume(
        self, queue: str, auto_ack: bool = False, prefetch: int = 100, inactivity_timeout: float | None = None
    ) -> LeaseConsumer:
        """basic.consume as an iterator of deliveries; leave it with ``break``, or by ``close()`` on the iterator.

        It ends after ``inactivity_timeout`` seconds without a message (None: never), and raises what went wrong when the
        channel or the queue is lost: a consumer never stops silently. ``prefetch`` is in messages (basic.qos).
        """
        self._check()
        self._channel.unclean = "it consumed"
        return LeaseConsumer(self._channel, queue, auto_ack, prefetch, inactivity_timeout, self, self._timeout)

    def basic_ack(self, delivery_tag: int, multiple: bool = False, timeout: float | None = None) -> None:
        """basic.ack. A tag that this lease does not hold raises LeaseReleasedError: the broker would close the channel."""
        self._settle_tag(delivery_tag, multiple, "basic_ack", timeout, lambda c: c.basic_ack(delivery_tag, multiple))

    def basic_nack(
        self, delivery_tag: int, multiple: bool = False, requeue: bool = True, timeout: float | None = None
    ) -> None:
        """basic.nack, RabbitMQ's extension."""
        self._settle_tag(
            delivery_tag, multiple, "basic_nack", timeout, lambda c: c.basic_nack(delivery_tag, multiple, requeue)
        )

    def basic_reject(self, delivery_tag: int, requeue: bool = True, timeout: float | None = None) -> None:
        """basic.reject."""
        self._settle_tag(delivery_tag, False, "basic_reject", timeout, lambda c: c.basic_reject(delivery_tag, requeue))

    def basic_qos(self, prefetch_count: int = 0, global_qos: bool = False, timeout: float | None = None) -> None:
        """basic.qos, in messages; quorum queues take no global one."""
        self._channel.unclean = self._channel.unclean or "its prefetch was changed"
        self._call(lambda channel, reply: channel.basic_qos(0, prefetch_count, global_qos, reply), "basic_qos", timeout)

    # Transactions

    def tx_select(self, timeout: float | None = None) -> None:
        """tx.select (AMQP 0-9-1, 1.9)."""
        self._check()
        self._channel.unclean = "it is in transaction mode"
        self._call(lambda channel, reply: channel.tx_select(reply), "tx_select", timeout)

    def tx_commit(self, timeout: float | None = None) -> None:
        """tx.commit."""
        self._call(lambda channel, reply: channel.tx_commit(reply), "tx_commit", timeout)

    def tx_rollback(self, timeout: float | None = None) -> None:
        """tx.rollback."""
        self._call(lambda channel, reply: channel.tx_rollback(reply), "tx_rollback", timeout)

    # Settling by the delivery itself

    def settle(self, delivery: Delivery, verdict: str, *, requeue: bool = False) -> bool:
        """What ``delivery.ack()`` and its like call: False if it was settled before, or the channel is gone."""
        tag = delivery.delivery_tag
        if self._released or not self._channel.is_open or not self._take_unacked(tag, multiple=False):
            return False
        delivery.settled = verdict
        self._tell(_settlement(tag, verdict, requeue), f"{verdict} of delivery {tag}", None)
        return True

    def received(self, delivery_tag: int) -> None:
        """A consumer of this lease got a delivery that must be settled."""
        with self._lock:
            self._unacked.add(delivery_tag)

    def _take_unacked(self, tag: int, multiple: bool) -> bool:
        """Take what a settlement covers out of the unacknowledged; False if this lease does not hold ``tag``."""
        with self._lock:
            held = {own for own in self._unacked if own <= tag or tag == 0} if multiple else {tag} & self._unacked
            if not held or (tag and tag not in self._unacked):
                return False
            self._unacked -= held
            return True

    def _settle_tag(
        self, tag: int, multiple: bool, name: str, timeout: float | None, send: Callable[[Any], None]
    ) -> None:
        self._check()
        if not self._take_unacked(tag, multiple):
            raise LeaseReleasedError(
                f"{name}({tag}): this lease holds no unacknowledged delivery with that tag; it was settled before, or "
                "belongs to another channel. Nothing was sent: the broker would have closed the channel"
            )
        self._tell(send, f"{name}({tag})", timeout)

    # Calling

    def _check(self) -> None:
        if self._released:
            raise LeaseReleasedError("this channel went back to its pool: lease another one with pool.channel()")
        if self._channel.error is not None:
            raise self._channel.error

    def _call(self, send: Callable[[Any, Callable[[Any], None]], None], during: str, timeout: float | None) -> Any:
        self._check()
        return self._channel.call(send, self._timeout if timeout is None else timeout, during)

    def _tell(self, send: Callable[[Any], None], during: str, timeout: float | None) -> None:
        self._check()
        self._channel.tell(send, self._timeout if timeout is None else timeout, during)


def _settlement(tag: int, verdict: str, requeue: bool) -> Callable[[Any], None]:
    if verdict == "ack":
        return lambda channel: channel.basic_ack(tag)
    if verdict == "nack":
        return lambda channel: channel.basic_nack(tag, requeue=requeue)
    return lambda channel: channel.basic_reject(tag, requeue=requeue)


def _table(arguments: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if arguments is None else dict(arguments)


def _explained(error: RmqpoolError, name: str, declared: Queue | None) -> RmqpoolError:
    """A 406 for a queue value becomes the list of differences."""
    if not isinstance(error, PreconditionFailedError) or isinstance(error, TopologyMismatchError):
        return error
    differences = explain_mismatch(error.text, declared if declared is not None else Queue(name))
    return TopologyMismatchError(str(error), code=error.code, text=error.text, differences=differences)
