"""basic.consume on a leased channel, as an iterator that never stops silently."""

from __future__ import annotations

import queue as queues
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from rmqpool.amqp.cancelling import cancel_consumer
from rmqpool.amqp.channel import BlockingChannel
from rmqpool.amqp.deliveries import delivery_from
from rmqpool.errors import NotFoundError, RmqpoolError
from rmqpool.message import Delivery, Settler

__all__ = ["LeaseConsumer"]


class Lease(Settler, Protocol):
    """What the iterator needs of its lease."""

    def received(self, delivery_tag: int) -> None: ...


class LeaseConsumer(Iterator[Delivery]):
    """Deliveries of one queue. One thread iterates; ``close()`` may be called from any."""

    def __init__(
        self,
        channel: BlockingChannel,
        queue: str,
        auto_ack: bool,
        prefetch: int,
        inactivity_timeout: float | None,
        lease: Lease,
        call_timeout: float,
        exclusive: bool = False,
    ) -> None:
        self._channel = channel
        self._queue = queue
        self._auto_ack = auto_ack
        self._inactivity_timeout = inactivity_timeout
        self._lease = lease
        self._call_timeout = call_timeout
        self._inbox: queues.SimpleQueue[Delivery | RmqpoolError | None] = queues.SimpleQueue()
        self._closed = False
        self._tag = ""
        self._start(prefetch, exclusive)

    def __next__(self) -> Delivery:
        if self._closed:
            raise StopIteration
        try:
            item = self._inbox.get(timeout=self._inactivity_timeout)
        except queues.Empty:
            self.close()
            raise StopIteration from None
        if item is None:
            raise StopIteration
        if isinstance(item, RmqpoolError):
            self._closed = True
            raise item
        return item

    def close(self) -> None:
        """basic.cancel; what was delivered and not settled comes back to the queue when the lease is released."""
        if self._closed:
            return
        self._closed = True

        def cancel(channel: Any, reply: Callable[[Any], None]) -> None:
            cancel_consumer(channel, self._tag, reply)

        if self._channel.is_open:
            self._channel.call(cancel, self._call_timeout, "basic_cancel")
        self._inbox.put(None)

    def rest(self) -> list[Delivery]:
        """After :meth:`close`: what was delivered and not iterated over. Raises why the channel or the queue was lost."""
        found: list[Delivery] = []
        while not self._inbox.empty():
            item = self._inbox.get_nowait()
            if isinstance(item, RmqpoolError):
                raise item
            if item is not None:
                found.append(item)
        return found

    def _start(self, prefetch: int, exclusive: bool) -> None:
        contained = self._channel.link.contained

        def send(channel: Any, reply: Callable[[Any], None]) -> None:
            channel.add_on_cancel_callback(contained(self._on_cancel))
            self._tag = channel.basic_consume(
                self._queue,
                contained(self._on_message),
                auto_ack=self._auto_ack,
                exclusive=exclusive,
                callback=contained(reply),
            )

        self._channel.call(
            lambda channel, reply: channel.basic_qos(0, prefetch, False, reply), self._call_timeout, "basic_qos"
        )
        self._channel.call(send, self._call_timeout, f"basic_consume({self._queue!r})")
        self._channel.listen(self._inbox.put)

    def _on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if not self._auto_ack:
            self._lease.received(method.delivery_tag)
        self._inbox.put(
            delivery_from(
                method,
                properties,
                body,
                queue=self._queue,
                epoch=self._channel.epoch,
                channel_serial=self._channel.serial,
                settler=None if self._auto_ack else self._lease,
            )
        )

    def _on_cancel(self, _frame: Any) -> None:
        self._inbox.put(
            NotFoundError(
                f"the broker cancelled the consumer of queue {self._queue!r}: it was deleted, or moved to another node; "
                "declare it again and consume anew",
                code=404,
                text="basic.cancel",
            )
        )
