"""Moves messages from a queue to where their copies go: publish, wait for the confirm, then acknowledge; in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from rmqpool.errors import DecodeError, MessageError, MigrationError, PublishError, RmqpoolError
from rmqpool.future import PublishFuture
from rmqpool.lease import LeasedChannel
from rmqpool.message import Delivery, Message
from rmqpool.publisher import Publisher

__all__ = ["Mover"]


class Mover:
    """Moves one queue's messages on channels given to it. ``window`` messages at most are without a confirm.

    ``on_confirmed`` is called for each message between its confirm and its acknowledgement: whoever is killed there
    moves that message, and at most ``window`` - 1 others, a second time. ``timeout`` is each copy's deadline in seconds.
    Not thread-safe.
    """

    def __init__(
        self, publisher: Publisher, *, window: int, timeout: float, on_confirmed: Callable[[], None] = lambda: None
    ) -> None:
        self._publisher = publisher
        self._window = window
        self._timeout = timeout
        self._on_confirmed = on_confirmed
        self.moved = 0
        """Messages moved since the beginning."""

    def drain(
        self,
        channel: LeasedChannel,
        queue: str,
        copy: Callable[[Delivery], Message],
        *,
        silence: float,
        until: float,
        most: int | None = None,
    ) -> int:
        """Move until nothing came for ``silence`` seconds, ``most`` messages were moved, or it is ``until`` (monotonic).

        Returns how many were moved. All that was delivered on ``channel`` is acknowledged then. Raises MigrationError for
        a message whose copy was not confirmed: it, and what was behind it, comes back to ``queue`` with the channel's end.
        """
        before = self.moved
        consumer = channel.basic_consume(queue, prefetch=2 * self._window, inactivity_timeout=silence, exclusive=True)
        self._move(channel, _some(consumer, most, until), copy)
        consumer.close()
        self._move(channel, consumer.rest(), copy)
        return self.moved - before

    def _move(
        self, channel: LeasedChannel, deliveries: Iterable[Delivery], copy: Callable[[Delivery], Message]
    ) -> None:
        pending: deque[tuple[Delivery, PublishFuture]] = deque()
        for delivery in deliveries:
            try:
                future = self._submit(delivery, copy)
            except MigrationError:
                self._settle(channel, pending, len(pending))
                raise
            pending.append((delivery, future))
            if len(pending) >= self._window:
                self._settle(channel, pending, (self._window + 1) // 2)
        self._settle(channel, pending, len(pending))

    def _settle(self, channel: LeasedChannel, pending: deque[tuple[Delivery, PublishFuture]], count: int) -> None:
        """Wait for the confirms of the first ``count``, and acknowledge those that have one, at once."""
        confirmed: list[int] = []
        try:
            for _ in range(count):
                delivery, future = pending.popleft()
                try:
                    future.result()
                except PublishError as error:
                    raise _stays(delivery, error) from error
                self._on_confirmed()
                confirmed.append(delivery.delivery_tag)
        finally:
            if confirmed:
                self._acknowledge(channel, delivery.queue, confirmed)

    def _acknowledge(self, channel: LeasedChannel, queue: str, tags: list[int]) -> None:
        try:
            channel.ack_each(tags)
        except RmqpoolError as error:
            raise MigrationError(
                f"queue {queue!r}: the channel was lost before {len(tags)} moved messages were acknowledged ({error}); they "
                "stay, and are moved a second time: run this again"
            ) from error
        self.moved += len(tags)

    def _submit(self, delivery: Delivery, copy: Callable[[Delivery], Message]) -> PublishFuture:
        try:
            return self._publisher.submit_message(copy(delivery), timeout=self._timeout)
        except (MessageError, DecodeError, PublishError) as error:
            raise _stays(delivery, error) from error


def _some(deliveries: Iterable[Delivery], most: int | None, until: float) -> Iterator[Delivery]:
    if most == 0:
        return
    for number, delivery in enumerate(deliveries, 1):
        yield delivery
        if number == most or time.monotonic() > until:
            return


def _stays(delivery: Delivery, error: Exception) -> MigrationError:
    way_out = "remove the cause"
    if isinstance(error, MessageError | DecodeError):
        way_out = f"take it out (rmqpool dlq export {delivery.queue} FILE --exact --limit 1 --remove)"
    return MigrationError(
        f"{_named(delivery)} of queue {delivery.queue!r} could not be moved ({error}): it stays where it is, and so do those "
        f"behind it; {way_out}, and run this again"
    )


def _named(delivery: Delivery) -> str:
    return f"message {delivery.message_id!r}" if delivery.message_id else "a message without an id"
