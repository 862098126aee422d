"""Moves messages from a queue to where their copies go: publish, wait for the confirm, then acknowledge; in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from rmqpool.errors import DecodeError, MessageError, MigrationError, PublishError
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
        self._move(_some(consumer, most, until), copy)
        consumer.close()
        self._move(consumer.rest(), copy)
        return self.moved - before

    def _move(self, deliveries: Iterable[Delivery], copy: Callable[[Delivery], Message]) -> None:
        pending: deque[tuple[Delivery, PublishFuture]] = deque()
        for delivery in deliveries:
            pending.append((delivery, self._submit(delivery, copy)))
            while pending and (len(pending) >= self._window or pending[0][1].done()):
                self._settle(*pending.popleft())
        while pending:
            self._settle(*pending.popleft())

    def _submit(self, delivery: Delivery, copy: Callable[[Delivery], Message]) -> PublishFuture:
        try:
            return self._publisher.submit_message(copy(delivery), timeout=self._timeout)
        except (MessageError, DecodeError, PublishError) as error:
            raise _stays(delivery, error) from error

    def _settle(self, delivery: Delivery, future: PublishFuture) -> None:
        try:
            future.result()
        except PublishError as error:
            raise _stays(delivery, error) from error
        self._on_confirmed()
        if not delivery.ack():
            raise MigrationError(
                f"queue {delivery.queue!r}: the channel was lost before a message was acknowledged; it stays, and is moved "
                "a second time: run this again"
            )
        self.moved += 1


def _some(deliveries: Iterable[Delivery], most: int | None, until: float) -> Iterator[Delivery]:
    if most == 0:
        return
    for number, delivery in enumerate(deliveries, 1):
        yield delivery
        if number == most or time.monotonic() > until:
            return


def _stays(delivery: Delivery, error: Exception) -> MigrationError:
    return MigrationError(
        f"a message of queue {delivery.queue!r} could not be moved ({error}): it stays where it is; remove the cause, and "
        "run this again"
    )
