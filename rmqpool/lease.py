"""The leased channel that users hold: pika's own method names as blocking, thread-safe calls. It dies on release.

Every call has a deadline (30 s unless told otherwise) and raises one of our errors. A channel that consumed, still has
unacknowledged deliveries, was put into confirm or transaction mode, or saw an error is thrown away on release.
"""

from __future__ import annotations

import itertools
import logging
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from rmqpool.amqp.channel import BlockingChannel
from rmqpool.amqp.deliveries import delivery_from
from rmqpool.amqp.lease_confirms import LeaseConfirms, publish_properties
from rmqpool.amqp.lease_consumer import LeaseConsumer
from rmqpool.errors import LeaseReleasedError
from rmqpool.lease_topology import LeasedTopology, QueueDeclared
from rmqpool.leasing import ChannelLeases, Ticket
from rmqpool.message import Delivery

__all__ = ["LeasedChannel", "QueueDeclared"]

_LOGGER = logging.getLogger("rmqpool")
_CHUNK = 500  # deliveries settled in one go on the I/O thread


class LeasedChannel(LeasedTopology):
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
        self._lock = threading.Lock()
        self._unacked: set[int] = set()
        self._consumes_only = True  # a basic.get of another thread may hold a tag that is not in _unacked yet
        self._confirms: LeaseConfirms | None = None
        self._released = False  # last: what was not made to its end is no lease that somebody drops

    # The lease

    def release(self) -> None:
        """Give the channel back to its pool; a second release does nothing."""
        try:
            with self._lock:
                if self._released:
                    return
                self._released = True
            if self._unacked and not self._channel.unclean:
                self._channel.unclean = f"{len(self._unacked)} deliveries were not acknowledged"
            self._leases.release(self._ticket, reusable=self._channel.is_open and not self._channel.unclean)
        except BaseException:  # KeyboardInterrupt: nobody will release it again
            self._released = True
            self._leases.interrupted(self._ticket)
            raise

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
        self._consumes_only = False
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
        self,
        queue: str,
        auto_ack: bool = False,
        prefetch: int = 100,
        inactivity_timeout: float | None = None,
        exclusive: bool = False,
    ) -> LeaseConsumer:
        """basic.consume as an iterator of deliveries; leave it with ``break``, or by ``close()`` on the iterator.

        It ends after ``inactivity_timeout`` seconds without a message (None: never), and raises what went wrong when the
        channel or the queue is lost: a consumer never stops silently. ``prefetch`` is in messages (basic.qos).
        ``exclusive``: the only consumer of the queue, or AccessRefusedError (classic queues; others do not know it).
        """
        self._check()
        self._channel.unclean = "it consumed"
        return LeaseConsumer(
            self._channel, queue, auto_ack, prefetch, inactivity_timeout, self, self._timeout, exclusive
        )

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

    def ack_each(self, delivery_tags: Iterable[int], timeout: float | None = None) -> int:
        """Acknowledge many deliveries, faster than one by one; those that are not held are passed over. How many were.

        The oldest ones of a consumer take one basic.ack: a quorum queue is sent each ack as a command of its own, and when
        the channel is closed while more than 32 are under way, RabbitMQ forgets the rest and delivers their messages again.
        """
        settled = 0
        remaining = iter(delivery_tags)
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            self._check()
            held = [tag for tag in chunk if self._take_unacked(tag, multiple=False)]
            self._tell(_acknowledgements(held, self._covers(held)), f"ack of {len(held)} deliveries", timeout)
            settled += len(held)
        return settled

    def returning(self, size: int, timeout: float | None = None) -> Iterator[int]:
        """Give all unacknowledged deliveries back, the oldest first, ``size`` with each basic.nack; yields how many.

        The caller may wait in between: a quorum queue keeps the order of 32 at a time. Cancel the consumers before,
        otherwise the messages come again at once.
        """
        with self._lock:
            tags = sorted(self._unacked)
        for start in range(0, len(tags), size):
            self._check()
            held = [tag for tag in tags[start : start + size] if self._take_unacked(tag, multiple=False)]
            if held:
                self._tell(_return_up_to(held[-1]), f"nack of {len(held)} deliveries", timeout)
                yield len(held)

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

    def _covers(self, tags: Sequence[int]) -> bool:
        """True if one basic.ack up to the last of ``tags`` settles these and no other delivery."""
        with self._lock:
            return self._consumes_only and len(tags) > 1 and max(tags) < min(self._unacked, default=max(tags) + 1)

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


def _acknowledgements(tags: Sequence[int], at_once: bool) -> Callable[[Any], None]:
    if at_once:
        return lambda channel: channel.basic_ack(max(tags), multiple=True)

    def send(channel: Any) -> None:
        for tag in tags:
            channel.basic_ack(tag)

    return send


def _return_up_to(tag: int) -> Callable[[Any], None]:
    return lambda channel: channel.basic_nack(tag, multiple=True, requeue=True)
