"""One channel of a consumer, from its opening to its loss: which deliveries are out, and what was said of them.

Whoever takes a delivery's tag out of the dictionary owns its settlement: ``dict.pop`` is atomic in CPython, and needs no
lock. A tag that is not there was settled before (doubled), or its channel is gone (stale: on the next channel the same tag
is another message); both are dropped and counted.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

from rmqpool.amqp import wire
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.deliveries import Origin, delivery_from, receive
from rmqpool.amqp.frame_reader import Answer
from rmqpool.amqp.link import Link
from rmqpool.core.burst import Burst
from rmqpool.core.settlement import Instruction, SettlementWindow
from rmqpool.message import Delivery

__all__ = ["ConsumeSession", "SettlementCounts", "is_current"]

_SERIALS = itertools.count(1)
_OPEN: weakref.WeakSet[ConsumeSession] = weakref.WeakSet()


class SettlementCounts:
    """The figures of a consumer over all of its channels. ``delivered`` and ``settled`` belong to the I/O thread."""

    def __init__(self) -> None:
        self.delivered = self.settled = self.stale = self.doubled = 0
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def drop(self, *, stale: int = 0, doubled: int = 0) -> None:
        """Count settlements that are dropped. Thread-safe, also in a forked child."""
        if os.getpid() != self._owner:  # a thread that stayed in the parent may have held the lock
            self._lock, self._owner = threading.Lock(), os.getpid()
        with self._lock:
            self.stale += stale
            self.doubled += doubled


class ConsumeSession:
    """The deliveries and settlements of one open channel. ``settle`` and ``holds`` are thread-safe, all else is for the
    I/O thread. ``take`` gets the deliveries of a read; ``wanted`` is posted to the link when something is to be written,
    once until it is. ``outstanding`` holds what nobody has settled, by tag, in the order of arrival. ``burst`` knows how many
    methods were written of late.
    """

    def __init__(
        self,
        link: Link,
        channel: Any,
        queue: str,
        epoch: int,
        counts: SettlementCounts,
        take: Callable[[list[Delivery]], None],
        wanted: Callable[[ConsumeSession], None],
    ) -> None:
        self._link = link
        self._channel = channel
        self._key = (queue, epoch, next(_SERIALS))
        self._counts = counts
        self._take = take
        self._wanted = wanted
        self._contained = link.contained(lambda function: function())
        self.outstanding: dict[int, Delivery] = {}
        self._acked: list[int] = []  # appended to by any thread, emptied by the I/O thread
        self._refused: list[Instruction] = []
        self._awake = False
        self._lost = False
        self._window = SettlementWindow()
        self.burst = Burst()
        self.on_loss: Callable[[], None] = _nothing
        self._delivered = self._written = 0
        _OPEN.add(self)

    @property
    def unwritten(self) -> int:
        """Deliveries that are not settled yet, as the broker knows it."""
        written = self._written  # read first: a delivery in between makes it one too many, never one too few
        return self._delivered - written

    def holds(self, delivery: Delivery) -> bool:
        """True while a delivery of this channel can still be settled."""
        return delivery.delivery_tag in self.outstanding

    def settle(self, delivery: Delivery, verdict: str, *, requeue: bool = False) -> bool:
        """Hand ``ack``, ``nack`` or ``reject`` over to the I/O thread; False if it was settled before or is stale.

        True means handed over, not written: if the connection or the channel is lost in that moment it is still dropped
        and counted as stale, and the broker delivers the message again.
        """
        tag = delivery.delivery_tag
        if self.outstanding.pop(tag, None) is None:
            return self._drop(delivery)
        delivery.settled = verdict
        if verdict == "ack":
            self._acked.append(tag)
        else:
            self._refused.append(Instruction("nack" if verdict == "nack" else "reject", tag, requeue=requeue))
        if not self._awake:
            try:
                self._awake = True
                self._link.post(lambda: self._wanted(self))
            except BaseException:  # a KeyboardInterrupt just here would leave it asleep for ever
                self._awake = False
                raise
        return True

    def _drop(self, delivery: Delivery) -> bool:
        if self._lost and not delivery.settled:
            self._counts.drop(stale=1)
        else:
            self._counts.drop(doubled=1)
        return False

    # What the broker delivers (I/O thread)

    def on_contents(self, contents: list[wire.Content]) -> None:
        """All messages of one read, from the frame reader."""
        origin = Origin(*self._key, monotonic())
        self._contained(lambda: self._deliver(receive(contents, origin, self)))

    def on_answers(self, answers: list[Answer]) -> None:
        """basic.ack and basic.nack, which no broker sends on a channel without confirms."""
        self._contained(lambda: self._refuse(answers))

    def _refuse(self, answers: list[Answer]) -> None:
        raise ValueError(f"a consuming channel got {len(answers)} confirms, and it asked for none")

    def on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """One message, from pika: where the connection does not read frames itself."""
        queue, epoch, serial = self._key
        delivery = delivery_from(
            method, properties, body, queue=queue, epoch=epoch, channel_serial=serial, settler=self
        )
        delivery.received_at = monotonic()
        self._deliver([delivery])

    def _deliver(self, deliveries: list[Delivery]) -> None:
        if self._lost:
            return  # they come again
        outstanding = self.outstanding
        for delivery in deliveries:
            outstanding[delivery.delivery_tag] = delivery
        self._delivered += len(deliveries)
        self._counts.delivered += len(deliveries)
        self._take(deliveries)

    # What is written (I/O thread)

    def write(self, connection: Connection | None) -> None:
        """Write everything that was settled, in as few methods as the window allows."""
        self._awake = False
        acked, refused = _emptied(self._acked), _emptied(self._refused)
        count = len(acked) + len(refused)
        if self._lost or connection is None or not self._channel.is_open:
            self._counts.drop(stale=count)
            return
        instructions = self._window.flush(acked, refused)
        self.burst.wrote(len(instructions), monotonic())
        if connection.fast:
            number = self._channel.channel_number
            connection.write(b"".join([_marshal(number, one) for one in instructions]))
        else:
            for instruction in instructions:
                _settle_on(self._channel, instruction)
        self._written += count
        self._counts.settled += count

    def abandon_after_fork(self) -> None:
        """In a forked child: what was delivered is the parent's to settle."""
        self._lost = True
        self.outstanding.clear()

    def ask(self, on_answer: Callable[[Any], None]) -> None:
        """Have the broker answer on this channel."""
        if not self._lost and self._channel.is_open:
            self._channel.basic_qos(prefetch_count=1, callback=on_answer)

    def lose(self) -> None:
        """The channel is gone: from here on every delivery of it is stale."""
        self._lost = True
        self.on_loss()
        self.outstanding.clear()
        self._counts.drop(stale=len(_emptied(self._acked)) + len(_emptied(self._refused)))


def _abandon_after_fork() -> None:
    for session in list(_OPEN):
        session.abandon_after_fork()


os.register_at_fork(after_in_child=_abandon_after_fork)


def is_current(delivery: Delivery) -> bool:
    """True while a consumer's delivery can still be settled. Thread-safe."""
    session = delivery.settler
    return isinstance(session, ConsumeSession) and delivery.delivery_tag in session.outstanding


def _emptied(handed_over: list[Any]) -> list[Any]:
    """Take out what is there. Other threads only append, so that what they add meanwhile stays."""
    taken = handed_over[:]
    del handed_over[: len(taken)]
    return taken


def _nothing() -> None:
    """Nobody asked."""


def _marshal(channel_number: int, instruction: Instruction) -> bytes:
    verdict, tag, multiple, requeue = instruction
    if verdict == "ack":
        return wire.marshal_ack(channel_number, tag, multiple)
    if verdict == "nack":
        return wire.marshal_nack(channel_number, tag, multiple, requeue)
    return wire.marshal_reject(channel_number, tag, requeue)


def _settle_on(channel: Any, instruction: Instruction) -> None:
    verdict, tag, multiple, requeue = instruction
    if verdict == "ack":
        channel.basic_ack(tag, multiple)
    elif verdict == "nack":
        channel.basic_nack(tag, multiple, requeue)
    else:
        channel.basic_reject(tag, requeue)
