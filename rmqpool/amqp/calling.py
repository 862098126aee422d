"""Calling on one link: requests, and the replies to them, over direct reply-to.

RabbitMQ delivers replies from a pseudo-queue, without acknowledgements, on the very channel that published the requests
(https://www.rabbitmq.com/docs/direct-reply-to). So calls have a confirm channel of their own on a publish connection: what
is published there is written once only, because a second writing would have the request handled twice.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

from rmqpool.amqp.link import Link
from rmqpool.amqp.publishing import Publishing
from rmqpool.amqp.reply_channel import ReplyChannel
from rmqpool.errors import DecodeError, ReplyLostError, RmqpoolError
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation, Delivery, Message

__all__ = ["Call", "Calling"]

_LOGGER = logging.getLogger("rmqpool")
_QUIET = 0.1  # seconds until a retiring connection is looked at again


class Call:
    """One request on its way. ``reply`` ends with the reply's delivery, or with the error that the broker or the
    connection gave; it has no deadline of its own. ``request`` is the message's own outcome.
    """

    __slots__ = ("_calling", "reply", "request")

    def __init__(self, request: PublishFuture, calling: Calling) -> None:
        self.request = request
        self.reply: Future[Delivery] = Future()
        self.reply.set_running_or_notify_cancel()  # whoever waits for it cannot cancel it
        self._calling = calling

    def give_up(self) -> bool:
        """Nobody waits for the reply any longer. True if nothing of the request was written, and nothing will be."""
        self._calling.drop(self)
        return self.request.cancel()

    def lost(self, why: str, cause: BaseException | None) -> ReplyLostError:
        """The error for the caller when the channel that the reply would have come on is gone."""
        message = self.request.message
        error = ReplyLostError(
            f"the reply to request {message.message_id} to queue {message.routing_key!r} is lost with its channel "
            f"({why}); the request may have been handled, or still be: repeat it only if that does no harm",
            queue=message.routing_key,
            message_id=message.message_id,
        )
        error.__cause__ = cause
        return error


class Calling(Publishing):
    """The calling actor of a link. ``begin``, ``drop`` and ``close`` are thread-safe.

    ``late`` counts the replies that nobody waited for any longer; they are dropped.
    """

    def __init__(
        self,
        link: Link,
        window_messages: int,
        window_bytes: int,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(link, window_messages, window_bytes, random_fraction)
        self._confirms = ReplyChannel(link, self, self._on_replies, random_fraction)
        self._calls: dict[str, Call] = {}  # by correlation id; whoever takes a call out ends it
        self.late = 0

    # From any thread

    def begin(self, message: Message, header: bytes, deadline: float) -> Call:
        """Take a request over that has entered the window. ``deadline`` (monotonic) is that of its confirm."""
        call = Call(PublishFuture(message, header, deadline, False, self), self)
        self._calls[_key(call)] = call
        try:
            self.take(call.request)
        except BaseException:  # KeyboardInterrupt: if nothing was written, nothing will be
            self.drop(call)
            self.withdraw(call.request)
            raise
        call.request.add_done_callback(lambda _: self._on_outcome(call))
        return call

    def drop(self, call: Call) -> bool:
        """A reply to it will be late. False if it has ended already."""
        return self._calls.pop(_key(call), None) is not None

    @property
    def outstanding(self) -> int:
        """Requests without a reply."""
        return len(self._calls)

    def close(self, deadline: float) -> bool:
        """Wait until ``deadline`` for replies, then end what is left; True if nothing was left."""
        waiting = [call.reply for call in tuple(self._calls.values())]
        left = wait(waiting, max(0.0, deadline - time.monotonic())).not_done
        return super().close(deadline) and not left

    def retire_then(self, function: Callable[[], None]) -> None:
        """Take nothing new, and call ``function`` (on the I/O thread) once every call has ended."""
        self._link.post(lambda: self._end_when_answered(function))

    def abandon_after_fork(self) -> None:
        """In a forked child: these calls belong to the parent."""
        super().abandon_after_fork()
        self._calls.clear()

    # On the I/O thread

    def link_down(self, error: RmqpoolError) -> None:
        super().link_down(error)
        self._lose_replies(str(error), error)

    def channel_closed(self, code: int, text: str) -> bool:
        """The broker closed the channel, and the address that replies go to with it."""
        expected = super().channel_closed(code, text)
        self._lose_replies(f"{code} {text}", None)
        return expected

    def _on_outcome(self, call: Call) -> None:
        """Also on the thread that withdrew the request, or began it."""
        if call.request.cancelled():
            return
        outcome = call.request.outcome(0)
        if not isinstance(outcome, Confirmation) and self.drop(call):
            call.reply.set_exception(outcome)

    def _on_replies(self, replies: Sequence[Delivery]) -> None:
        for reply in replies:
            try:
                call = self._calls.pop(reply.correlation_id or "", None)
            except DecodeError:
                call = None
            if call is not None:
                call.reply.set_result(reply)
            else:
                self.late += 1
                _LOGGER.debug("a reply came that nobody waits for: %r", reply)

    def _lose_replies(self, why: str, cause: RmqpoolError | None) -> None:
        """What is confirmed cannot be answered any more; what was not written yet goes to the next channel."""
        for call in tuple(self._calls.values()):
            if call.request.done() and self.drop(call):
                call.reply.set_exception(call.lost(why, cause))

    def _end_when_answered(self, function: Callable[[], None]) -> None:
        if not self._calls and self.window.close_if_empty():
            function()
        elif not self._closed:
            self._link.call_later(_QUIET, lambda: self._end_when_answered(function))

    def __repr__(self) -> str:
        return f"<Calling on {self._link.name}: {len(self._calls)} without a reply>"


def _key(call: Call) -> str:
    return str(call.request.message.correlation_id)
