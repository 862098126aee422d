"""Publishing on one link: a long-lived confirm channel, a bounded window, and one outcome for every message.

Users' threads only append to a queue and wake the I/O thread; everything else happens there. A message is *queued* until
it is handed to the connection, *written* until the broker answers, then done. Whatever happens to the channel or the
connection in between, the message is written again (same message_id) or ends by its deadline in one of the five outcomes.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rmqpool.amqp import wire
from rmqpool.amqp.confirm_channel import ConfirmChannel
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.deadlines import Deadlines
from rmqpool.amqp.frame_reader import Answer
from rmqpool.amqp.io_thread import Timer
from rmqpool.amqp.link import Link
from rmqpool.amqp.outcomes import Outcomes
from rmqpool.amqp.patience import Patience
from rmqpool.amqp.redeclaring import Redeclaring
from rmqpool.amqp.succession import Succession
from rmqpool.amqp.unsent import Unsent
from rmqpool.core.backoff import Backoff
from rmqpool.core.confirms import ConfirmWindow, Returned, Settled
from rmqpool.core.redrive import Blame, judge_channel_close, judge_connection_close
from rmqpool.errors import ConnectionFailedError, PoolClosedError, RmqpoolError
from rmqpool.future import ENDED, PublishFuture, break_leases
from rmqpool.message import Message
from rmqpool.topology import Topology
from rmqpool.window import Window

__all__ = ["Publishing"]

_LOGGER = logging.getLogger("rmqpool")
_UNWRITTEN_MAX = 1024 * 1024  # bytes left in pika's buffer above which nothing more is handed over
_QUIET = 0.1  # seconds until a retiring connection is looked at again
_PAUSE = 0.005  # seconds until a full buffer is looked at again
_NACK_RETRIES = 2
_NACK_BACKOFF = Backoff(0.1, 1.0)
_Judge = Callable[[int, Sequence[str]], Blame]


class Publishing:
    """The publishing actor of a link. ``submit``, ``withdraw``, ``declare`` and ``close`` are thread-safe.

    ``window_messages`` and ``window_bytes`` bound what has no outcome yet (queued and written together).
    """

    def __init__(
        self,
        link: Link,
        window_messages: int,
        window_bytes: int,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self.window = Window(window_messages, window_bytes)
        self.succession = Succession(link, self._drain)
        self._link = link
        self._random = random_fraction
        self._unsent = Unsent()
        self._written: ConfirmWindow[PublishFuture] = ConfirmWindow(PublishFuture.name_in_return)
        self._outcomes = Outcomes(self.window, link, self._unsent.lock, lambda: self._confirms.why_closed)
        self._topology: dict[Topology, None] = {}
        self._redeclaring = Redeclaring(link)
        self._connection: Connection | None = None
        self._confirms: ConfirmChannel = ConfirmChannel(link, self, random_fraction)
        self._header_max = 0  # bytes of encoded properties that fit into one frame, as negotiated with this broker
        self._awake = False
        self._alone = False  # a suspect is on its way: nothing else is written until the broker spoke
        self._deadlines = Deadlines(link, self._expire)
        self._pause: Timer | None = None
        self._patience = Patience(link, link.settings.blocked_timeout, self._end_unwritten)
        self._closed = False
        self.is_inherited = False  # this process is a fork of the one that made it

    # From any thread

    def submit(self, message: Message, header: bytes, deadline: float, retry: bool, wake: bool = True) -> PublishFuture:
        """Take a message over that has entered the window."""
        future = PublishFuture(message, header, deadline, retry, self)
        self.take(future, wake)
        return future

    def take(self, future: PublishFuture, wake: bool = True) -> None:
        """As :meth:`submit`, for a future of this engine's; ``wake`` False: the caller calls :meth:`wake` himself."""
        self._unsent.append(future)
        if wake:
            self.wake()

    def wake(self) -> None:
        """Have written what was submitted; one wake-up of the I/O thread while none is pending."""
        if not self._awake:
            try:
                self._awake = True
                self._link.post(self._drain)
            except BaseException:  # a KeyboardInterrupt just here would leave it asleep for ever
                self._awake = False
                raise
        if self._closed and not self._link.post(self._fail_everything):
            self._fail_everything()  # the I/O thread has ended: nobody else works on these messages

    def withdraw(self, future: PublishFuture) -> bool:
        """Take a message back if nothing of it was ever written."""
        if not self._unsent.withdraw(future):
            return False
        self.window.leave(1, future.size)
        future.finish()
        if self._unsent.wants_cleaning:
            self._link.post(self._unsent.drop_done)
        return True

    def declare_on_connect(self, topology: Iterable[Topology]) -> None:
        """Declare these values again on each new connection, before anything is published on it."""
        items = tuple(topology)
        self._link.post(lambda: self._topology.update(dict.fromkeys(items)))

    def forget(self, topology: Iterable[Topology]) -> None:
        """Declare these values no longer."""
        items = tuple(topology)
        self._link.post(lambda: [self._topology.pop(item, None) for item in items].clear())

    def close(self, deadline: float) -> bool:
        """Wait until ``deadline`` for outcomes, then end what is left; True if nothing was left."""
        clean = self.window.close_when_empty(deadline)
        self._closed = True
        self._link.post(self._fail_everything)
        return clean

    def retire(self) -> None:
        """Take what is on its way to its outcome, then end the connection; nobody has to wait for it."""
        self._link.post(self._end_when_quiet)

    def _end_when_quiet(self) -> None:
        if self.window.close_if_empty():
            self._closed = True
            self._link.close_soon()
        elif not self._closed:
            self._link.call_later(_QUIET, self._end_when_quiet)

    @property
    def closed(self) -> bool:
        """True when nothing more is taken: get another engine from the pool."""
        return self._closed or self.window.closed

    def abandon_after_fork(self) -> None:
        """In a forked child: these messages belong to the parent; whoever waits for them here is told so."""
        self.is_inherited = True
        self._unsent.after_fork_in_child()
        for future in (*self._written.entries(), *self._unsent.everything()):
            self._outcomes.inherited(future)

    def end_inherited(self, future: PublishFuture) -> None:
        """In a forked child: one that the I/O thread had in hand at the fork."""
        self._outcomes.inherited(future)

    @property
    def on_io_thread(self) -> bool:
        """True when the caller is this engine's own I/O thread, which must never wait for itself."""
        return self._link.on_io_thread

    @property
    def unconfirmed(self) -> int:
        """Messages written and not yet answered."""
        return len(self._written)

    # The link speaks (I/O thread)

    def link_up(self, connection: Connection, epoch: int) -> None:
        self._connection = connection
        self._header_max = wire.header_room(connection.params.frame_max)
        if self._topology:
            self._redeclaring.start(connection, self._topology, self._on_declared)
        else:
            self._confirms.open(connection)

    def link_down(self, error: RmqpoolError) -> None:
        connection, self._connection = self._connection, None
        self._confirms.forget()
        self._alone = False
        self._patience.end()
        code = connection.broker_close[0] if connection is not None and connection.broker_close else 0
        alone = len(self._written) == 1 and self._written.entries()[0].alone
        break_leases([*self._unsent.leased(), *self._written.entries()])
        self._take_back(lambda count, _: judge_connection_close(code, count, alone), code, str(error), error)
        for future in self._unsent.leased():  # whoever sends again what was lost sends these again behind it
            self._outcomes.not_written(future, error)
        if isinstance(error, PoolClosedError):
            self._closed = True
            self.window.close()
            self._fail_everything()

    def link_blocked(self, reason: str) -> None:
        self._patience.begin()

    def link_unblocked(self) -> None:
        self._patience.end()
        self._drain()

    def _end_unwritten(self) -> None:
        """Blocked for longer than blocked_timeout: what was not written ends now, what was has until its deadline."""
        for future in self._unsent.everything():
            self._outcomes.blocked_too_long(future)
        self._unsent.drop_done()

    def link_refused(self, error: ConnectionFailedError) -> None:
        """The broker does not let us in: at the start every message ends at once, later each has until its deadline."""
        if self._link.refusal is not None:
            for future in self._unsent.everything():
                self._outcomes.refused(future, error)
            self._unsent.drop_done()

    # The channel (I/O thread)

    def _on_declared(self, error: RmqpoolError | None) -> None:
        if error is not None:
            _LOGGER.error("the topology could not be declared again after the reconnect: %s", error)
        if self._connection is not None:
            self._confirms.open(self._connection)

    def channel_ready(self) -> None:
        """Confirms are on: delivery tags begin at 1 again."""
        self._rescue(self._written.entries())
        self._written = ConfirmWindow(PublishFuture.name_in_return)
        self._drain()

    def channel_closed(self, code: int, text: str) -> bool:
        """The broker closed the channel, mostly because of one message."""
        alone, self._alone = self._alone, False
        self._take_back(lambda _, exchanges: judge_channel_close(code, text, exchanges, alone), code, text, None)
        return alone

    def returned(self, message_id: str | None, exchange: str, routing_key: str, returned: Returned) -> None:
        """basic.return: the message's ack, which follows, will not mean that it is stored."""
        if not self._written.give_back((message_id, exchange, routing_key), returned):
            _LOGGER.warning("a message was returned that nobody waits for: %s", message_id)

    def answered(self, answers: list[Answer]) -> None:
        """basic.ack and basic.nack, in their order."""
        for tag, multiple, is_ack in answers:
            self._settle(self._written.ack(tag, multiple) if is_ack else self._written.nack(tag, multiple))

    def _settle(self, settled: Settled[PublishFuture]) -> None:
        try:
            self._give_outcomes(settled)
        except Exception:
            self._rescue([*settled.acked, *settled.nacked, *(future for future, _ in settled.returned)])
            raise

    def _give_outcomes(self, settled: Settled[PublishFuture]) -> None:
        self._confirms.worked()
        self._outcomes.confirmed(settled.acked)
        for future, returned in settled.returned:
            self._outcomes.returned(future, returned)
        for future in settled.nacked:
            self._on_nack(future)
        if self._alone and not self._written:
            self._alone = False
        if self._unsent:
            self._drain()

    def _on_nack(self, future: PublishFuture) -> None:
        """The broker refuses it for now (a full queue): a few tries more, then that is the outcome."""
        if future.done():
            return  # its deadline passed before
        future.nacks += 1
        delay = _NACK_BACKOFF.delay(future.nacks, 0.5 + self._random() / 2)
        if not future.retry or future.nacks > _NACK_RETRIES or time.monotonic() + delay >= future.deadline:
            self._outcomes.nacked(future, 0, "")
            return
        self._unsent.rest(future)
        self._link.call_later(delay, lambda: self._wake_up(future))

    def _wake_up(self, future: PublishFuture) -> None:
        if self._unsent.wake(future):
            self._drain()

    # Writing (I/O thread)

    def _drain(self) -> None:
        self._awake = False
        channel, connection = self._confirms.channel, self._connection
        if channel is None or connection is None:
            self._wait_for_connection()
            return
        if self._patience.is_out:
            self._end_unwritten()
        while self._unsent and self._may_write(connection):
            batch = self._next_batch()
            if not batch:
                break
            self._write(connection, channel, batch)
        if self._unsent:
            self._deadlines.watch(self._unsent.unseen())

    def _wait_for_connection(self) -> None:
        self._deadlines.watch(self._unsent.unseen())
        if self._link.refusal is not None:
            self.link_refused(self._link.refusal)
        elif self._connection is None:
            self._link.nudge()

    def _may_write(self, connection: Connection) -> bool:
        if self._alone or self._link.blocked is not None or not connection.is_open or self._confirms.channel is None:
            return False
        if connection.unwritten_bytes > _UNWRITTEN_MAX:
            if self._pause is None:
                self._pause = self._link.call_later(_PAUSE, self._resume)
            return False
        return not self.succession.must_wait()

    def _resume(self) -> None:
        self._pause = None
        self._drain()

    def _next_batch(self) -> list[PublishFuture]:
        """Messages for one write, marked as written; those that cannot be written any more get their outcome."""
        batch = self._unsent.next_batch(bool(self._written), self._header_max, time.monotonic())
        self._written.extend(batch.ready)  # first: whatever fails from here on, they are found there and written again
        self._alone = batch.is_alone
        try:
            self._deadlines.watch_at(batch.earliest)
            for future in batch.late:
                self._outcomes.expired(future)
            for future in batch.too_large:
                self._outcomes.headers_too_large(future, self._header_max)
        except BaseException:
            self._unsent.write_again(future for future in (*batch.late, *batch.too_large) if not future.done())
            raise
        return batch.ready

    def _write(self, connection: Connection, channel: Any, batch: Sequence[PublishFuture]) -> None:
        if connection.fast:
            connection.write(wire.marshal_batch(channel.channel_number, batch, connection.body_max))
            return
        for future in batch:
            message = future.message
            properties = wire.properties_of(message)
            channel.basic_publish(message.exchange, message.routing_key, message.body, properties, message.mandatory)

    # Losing (I/O thread)

    def _take_back(self, judge: _Judge, code: int, text: str, cause: RmqpoolError | None) -> None:
        """The channel is gone: settle what is known, write the others again in their order, suspects alone."""
        unanswered, returned = self._written.lose()
        for future, given_back in returned:
            self._outcomes.returned(future, given_back)
        try:
            self._sort_out(unanswered, judge, code, text, cause)
        except Exception:
            self._rescue(unanswered)
            raise

    def _sort_out(
        self, unanswered: list[PublishFuture], judge: _Judge, code: int, text: str, cause: RmqpoolError | None
    ) -> None:
        unanswered = [future for future in unanswered if not future.done()]
        blame = judge(len(unanswered), [future.message.exchange for future in unanswered])
        culprits, suspects = set(blame.culprits), set(blame.suspects)
        again: list[PublishFuture] = []
        for index, future in enumerate(unanswered):
            if index in culprits:
                self._outcomes.nacked(future, code, text)
            elif not future.retry:
                self._outcomes.lost(future, text, cause)
            else:
                future.alone = index in suspects
                future.maybe_stored = future.maybe_stored or not future.alone
                again.append(future)
        self._unsent.write_again(again)
        self._deadlines.watch(again)

    def _rescue(self, futures: Iterable[PublishFuture]) -> None:
        """An error of ours hit before these got their outcome: they are written again."""
        self._unsent.write_again(self._outcomes.stranded(futures))

    # Ends (I/O thread)

    def _expire(self) -> None:
        now = time.monotonic()
        everything = [*self._written.entries(), *self._unsent.everything()]
        for future in everything:
            if future.due <= now:
                self._outcomes.expired(future)
        self._unsent.drop_done()
        self._written.hollow(PublishFuture.done, ENDED)
        self._deadlines.watch(future for future in everything if not future.done())

    def _fail_everything(self) -> None:
        for future in (*self._written.entries(), *self._unsent.everything()):
            self._outcomes.closed(future)
        self._written.lose()
        self._unsent.drop_done()

    def __repr__(self) -> str:
        return f"<Publishing on {self._link.name}: {len(self._unsent)} queued, {len(self._written)} unconfirmed>"
