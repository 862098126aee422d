"""What is around a call: the request's properties, waiting for the reply until the deadline, and the reply as a value."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, cast

from rmqpool import headers as names
from rmqpool.codecs import DEFAULT_ACCEPT, JSON, decode_body
from rmqpool.conversion import converter
from rmqpool.errors import (
    MessageError,
    NotSentError,
    RemoteError,
    ReplyError,
    ReplyTimeoutError,
    UnknownOutcomeError,
)
from rmqpool.future import GRACE
from rmqpool.identifiers import new_message_id
from rmqpool.message import Delivery
from rmqpool.sealing import MessageOptions

if TYPE_CHECKING:
    from rmqpool.amqp.calling import Call

__all__ = ["CallOptions", "Reply", "Waiting", "request_options"]

T = TypeVar("T")
_REPLY_TO = "amq.rabbitmq.reply-to"  # https://www.rabbitmq.com/docs/direct-reply-to


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What a handler returned. ``body`` is decoded by its content type, and of the ``reply_type`` that was asked for;
    ``delivery`` is the reply as it came: properties, headers, the encoded body. It needs no acknowledgement.
    """

    body: T
    delivery: Delivery

    def __repr__(self) -> str:
        return f"<Reply of {type(self.body).__name__}, {len(self.delivery.body)} bytes>"


class CallOptions(TypedDict, total=False):
    """Properties of a request, as for :class:`rmqpool.MessageOptions`; ``correlation_id`` and ``reply_to`` are the call's own.

    ``expiration`` seconds after which a request that nobody has begun is dropped, or dead-lettered, by the broker.
    """

    headers: Mapping[str, Any] | None
    message_id: str | None
    priority: int | None
    expiration: float | timedelta | str | None
    type: str | None
    user_id: str | None
    app_id: str | None
    timestamp: datetime | int | None
    content_type: str | None
    content_encoding: str | None
    compression: str | None
    persistent: bool


def request_options(options: CallOptions) -> MessageOptions:
    """The options of the request's message. Raises MessageError for one that a call does not take."""
    unknown = sorted(set(options) - set(CallOptions.__annotations__))
    if unknown:
        known = ", ".join(sorted({*CallOptions.__annotations__, "timeout", "reply_type"}))
        raise MessageError(f"a call takes no option {', '.join(unknown)}: known are {known}", field=unknown[0])
    own = {"correlation_id": new_message_id(), "reply_to": _REPLY_TO}
    return cast("MessageOptions", {**options, **own})


class Waiting(Generic[T]):
    """Waits for one reply, and turns it into what the caller gets. Every wait ends by the request's deadline, or GRACE
    seconds after it if the I/O thread does not say by then what became of the request.
    """

    def __init__(self, reply_type: Any, timeout: float) -> None:
        self._read = _reader(reply_type)
        self._timeout = timeout
        self.deadline = time.monotonic() + timeout

    def result(self, call: Call) -> Reply[T]:
        """Wait on this thread. Raises PublishError (the request's own outcome), ReplyError, DecodeError."""
        try:
            if not _is_there(call.reply, self._left()) and not call.request.done():
                _is_there(call.reply, GRACE)  # it is ending now: the I/O thread knows how
        except BaseException:  # KeyboardInterrupt
            call.give_up()
            raise
        return self._end(call)

    async def result_async(self, call: Call) -> Reply[T]:
        """Wait on this event loop; errors as for :meth:`result`. Cancelling withdraws a request that was not written."""
        waiting = asyncio.wrap_future(call.reply)
        try:
            await asyncio.wait([waiting], timeout=self._left())
            if not waiting.done() and not call.request.done():
                await asyncio.wait([waiting], timeout=GRACE)
        except BaseException:
            call.give_up()
            raise
        finally:
            if waiting.done():
                waiting.exception()  # it is raised from the call itself
            else:
                waiting.cancel()
        return self._end(call)

    def _left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def _end(self, call: Call) -> Reply[T]:
        if not call.reply.done():
            withdrawn = call.give_up()
            if not call.reply.done():  # it may have come in this moment
                raise self._not_sent(call) if withdrawn else self._timed_out(call)
        error = call.reply.exception()
        if isinstance(error, UnknownOutcomeError):
            raise self._unknown(call, error) from error
        if error is not None:
            raise error
        reply = call.reply.result()
        _raise_if_failed(reply, call)
        return Reply(self._read(reply), reply)

    def _not_sent(self, call: Call) -> NotSentError:
        message = call.request.message
        return NotSentError(
            f"request {message.message_id} to queue {message.routing_key!r} was not sent by its deadline; nothing was "
            "written, so calling again is safe",
            **call.request.names(),
        )

    def _timed_out(self, call: Call) -> ReplyTimeoutError:
        message = call.request.message
        return ReplyTimeoutError(
            f"no reply to request {message.message_id} to queue {message.routing_key!r} within {self._timeout:g} s: look "
            "whether its worker runs and keeps up; the request may have been handled, or be handled later",
            queue=message.routing_key,
            message_id=message.message_id,
        )

    def _unknown(self, call: Call, error: UnknownOutcomeError) -> ReplyError:
        return self._timed_out(call) if time.monotonic() >= self.deadline else call.lost(str(error), error)


def _is_there(reply: Future[Delivery], seconds: float) -> bool:
    try:
        reply.exception(seconds)
    except TimeoutError:
        return False
    return True


def _raise_if_failed(reply: Delivery, call: Call) -> None:
    """Raises RemoteError if the worker says so."""
    reason = reply.headers.get(names.REPLY_ERROR)
    if reason is None:
        return
    message = call.request.message
    kind, told = (str(reply.headers.get(name, "")) for name in (names.EXCEPTION_TYPE, names.EXCEPTION_MESSAGE))
    what = ": ".join(part for part in (kind, told) if part)
    raise RemoteError(
        f"request {message.message_id} to queue {message.routing_key!r} was not handled well ({reason})"
        + (f": {what}" if what else ""),
        reason=str(reason),
        type=kind,
        message=told,
        queue=message.routing_key,
        message_id=message.message_id,
    )


def _reader(reply_type: Any) -> Callable[[Delivery], Any]:
    """From a reply to its body. A reply without a content type is bytes, or JSON if another type is asked for."""
    convert = converter(reply_type)
    assumed = None if reply_type in (Any, object, bytes) else JSON

    def read(reply: Delivery) -> Any:
        content_type = None if reply_type is bytes else reply.content_type or assumed
        value = decode_body(reply.body, content_type, reply.content_encoding, reply.headers, accept=DEFAULT_ACCEPT)
        return convert(value)

    return read
