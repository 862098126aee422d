"""A pass over a dead-letter queue, from its head to where its end was when the pass began, one message at a time.

To see a message one must hold all before it. A quorum queue lets a consumer hold 2,000: when one is full, the next one
takes over, and few bodies are in memory at a time. What is held is given back in its order at the end; only when the
connection is lost, or the process killed, a quorum queue puts it back in an order of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rmqpool.amqp.lease_consumer import LeaseConsumer
from rmqpool.dlq.letter import DeadLetter
from rmqpool.dlq.selection import Selection
from rmqpool.errors import CallTimeoutError, RmqpoolError
from rmqpool.lease import LeasedChannel
from rmqpool.pool import ConnectionPool

__all__ = ["DeadLetterQueue", "Pass"]

_FIRST_PREFETCH = 32  # messages: ls of a few takes few
_MOST_PREFETCH = 512
_AT_ONCE = 32  # messages with one basic.nack: as many as a quorum queue keeps in order
_UNDER_WAY = 16  # of those, until they are ready again
_BACK = 1.0  # seconds for messages to be ready again
_QUIET = 0.5  # seconds without a message, before the queue is asked whether there are more


class DeadLetterQueue:
    """A queue of dead letters, by its own name. ``timeout`` is the seconds that each answer of the broker may take.

    Not bound to a thread; each pass belongs to one.
    """

    def __init__(self, pool: ConnectionPool, name: str, *, timeout: float | None = None) -> None:
        self.pool = pool
        self.name = name
        self.timeout = pool.timeout if timeout is None else timeout

    def count(self) -> int:
        """Messages that are ready now. Raises NotFoundError, CallTimeoutError, ConnectionLostError."""
        with self.pool.channel(self.timeout) as channel:
            return channel.queue_declare(self.name, passive=True, timeout=self.timeout).message_count

    @contextmanager
    def opened(self, bound: int | None = None) -> Iterator[Pass]:
        """A pass over the first ``bound`` messages; None: those that are ready now. Errors as for :meth:`count`."""
        with self.pool.channel(self.timeout) as channel:
            ready = channel.queue_declare(self.name, passive=True, timeout=self.timeout).message_count
            reading = Pass(channel, self.name, ready if bound is None else min(ready, bound), self.timeout)
            try:
                yield reading
            finally:
                with contextlib.suppress(RmqpoolError):  # a channel that is gone gave everything back
                    reading.give_back()

    def look(self, selection: Selection) -> Iterator[DeadLetter]:
        """The messages that are meant, in order; all go back when the iterator ends or is closed."""
        with self.opened() as reading:
            yield from reading.chosen(selection)

    def __repr__(self) -> str:
        return f"<DeadLetterQueue {self.name!r}>"


class Pass:
    """One pass. ``bound`` is how many messages it looks at, at most; ``seen`` how many it has. One thread."""

    def __init__(self, channel: LeasedChannel, queue: str, bound: int, timeout: float) -> None:
        self._channel = channel
        self._queue = queue
        self._timeout = timeout
        self._consumer: LeaseConsumer | None = None
        self._room = 0  # messages that the consumer may still hold
        self._oldest = 0  # the first tag of this consumer
        self._prefetch = _FIRST_PREFETCH
        self.bound = bound
        self.seen = 0

    def next(self) -> DeadLetter | None:
        """The next message, held until it is acknowledged or the pass ends; None at the end.

        Raises ChannelClosedError, ConnectionLostError, CallTimeoutError: everything held goes back then.
        """
        deadline = time.monotonic() + self._timeout
        while self.seen < self.bound:
            delivery = next(self._current(), None)
            if delivery is not None:
                self._oldest = self._oldest or delivery.delivery_tag
                self._room -= 1
                self.seen += 1
                return DeadLetter(delivery, self.seen)
            self._consumer = None  # it was quiet, and has ended
            if self.synchronise() == 0:
                return None  # somebody else took what was there
            if time.monotonic() >= deadline:
                raise CallTimeoutError(
                    f"queue {self._queue!r} has messages and delivers none within {self._timeout:g} s: look whether it "
                    "has a single active consumer, or no leader"
                )
        return None

    def chosen(self, selection: Selection) -> Iterator[DeadLetter]:
        """The messages that are meant, held, at most ``selection.limit``."""
        found = 0
        while selection.limit is None or found < selection.limit:
            letter = self.next()
            if letter is None:
                return
            if selection.matches(letter, datetime.now(UTC)):
                found += 1
                yield letter

    def ack(self, letters: Sequence[DeadLetter]) -> int:
        """Acknowledge messages of this pass. How many were. Raises RmqpoolError if the channel is gone: they go back."""
        return self._ack([letter.delivery.delivery_tag for letter in letters])

    def remove(self, tags: Sequence[int]) -> int:
        """Acknowledge all of ``tags``, and wait until the broker has read that. How many were.

        Raises RmqpoolError if the channel is lost meanwhile: those that were not read yet go back.
        """
        removed = self._ack(tags)
        self.synchronise()
        return removed

    def _ack(self, tags: Sequence[int]) -> int:
        self._room += sum(1 for tag in tags if tag >= self._oldest > 0)
        return self._channel.ack_each(tags, self._timeout)

    def synchronise(self) -> int:
        """Wait until the broker has read every acknowledgement so far: a channel is ordered. Messages ready then."""
        return self._channel.queue_declare(self._queue, passive=True, timeout=self._timeout).message_count

    def give_back(self) -> None:
        """Put what is held back, in its order. Whoever looks next sees it, if nobody else has taken it within a second.

        RabbitMQ's client of a quorum queue merges commands once 32 are under way, and what is merged is shuffled. So few
        are under way at a time: none but the first at the beginning, when acknowledgements may be.
        """
        self._end_consumer()
        ready = self.synchronise()
        in_order = True
        for number, count in enumerate(self._channel.returning(_AT_ONCE, self._timeout)):
            ready += count
            if number % _UNDER_WAY == 0:
                in_order = in_order and self._wait_ready(ready)
        if in_order:
            self._wait_ready(ready)

    def _wait_ready(self, count: int) -> bool:
        """Wait until so many are ready: a round trip each. False if somebody else takes them."""
        deadline = time.monotonic() + _BACK
        while self.synchronise() < count:
            if time.monotonic() >= deadline:
                return False
        return True

    def _current(self) -> LeaseConsumer:
        """The consumer that has room for one more."""
        if self._consumer is not None and self._room > 0:
            return self._consumer
        self._end_consumer()
        self._room = min(self._prefetch, self.bound - self.seen)
        self._prefetch = min(2 * self._prefetch, _MOST_PREFETCH)
        self._oldest = 0
        self._consumer = self._channel.basic_consume(self._queue, prefetch=self._room, inactivity_timeout=_QUIET)
        return self._consumer

    def _end_consumer(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
