"""The copy of a failed message that is parked or delayed: same body, same properties, and why it is there. No I/O.

What must not travel is taken off, and kept in a header of ours: an expiration would delete the copy, a foreign
user_id would be refused, and CC would send the message to those queues a second time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rmqpool import headers as names
from rmqpool.amqp.wire import FRAME_OVERHEAD, encode_properties
from rmqpool.core.header_room import Entry, fit, shorten
from rmqpool.errors import MessageError
from rmqpool.header_checks import check_headers
from rmqpool.identifiers import new_message_id
from rmqpool.message import Delivery, Message
from rmqpool.worker.failure import Failure

__all__ = ["delayed_message", "parked_message", "worker_identity"]

_TRACEBACK = 16 * 1024  # bytes; what a person reads
_MESSAGE = 2 * 1024
_SHORT_MESSAGE = 200  # of a message that will be tried again
_SPARE = 512  # bytes: the frame's own fields, and the attempt


def parked_message(
    delivery: Delivery, failure: Failure, queue: str, *, worker: str, user: str, frame_max: int, now: datetime
) -> Message:
    """The message for ``queue`` (by the default exchange), always persistent; it fits into frames of ``frame_max`` bytes.

    ``worker`` is :func:`worker_identity`, ``user`` the user of our connection, ``now`` an aware time. A message without
    an id gets one: without it nobody could tell which message the broker returned.
    """
    message = _copy(delivery, queue, user)
    moment = _moment(now)
    entries = [Entry(names.REASON, failure.reason), *_origin(delivery, moment), Entry(names.PARKED_AT, moment)]
    entries += [Entry(names.WORKER, worker), *_exception(failure, _MESSAGE), _traceback(failure)]
    return _with(message, entries, delivery.attempt, frame_max)


def delayed_message(
    delivery: Delivery,
    failure: Failure | None,
    queue: str,
    *,
    left: float,
    worker: str,
    user: str,
    frame_max: int,
    now: datetime,
) -> Message:
    """The message for the queue in which it waits, as :func:`parked_message`; ``left`` seconds of its delay remain then.

    ``failure`` None: it only waits on, and no attempt was made.
    """
    message = _copy(delivery, queue, user)
    entries = _origin(delivery, _moment(now))
    if failure is not None:
        entries += [Entry(names.WORKER, worker), *_exception(failure, _SHORT_MESSAGE)]
    attempt = delivery.attempt + (0 if failure is None else 1)
    delayed = _with(message, entries, attempt, frame_max)
    if left > 0:
        delayed.headers = {**(delayed.headers or {}), names.DELAY_LEFT: round(left * 1000)}
    return delayed


def _copy(delivery: Delivery, queue: str, user: str) -> Message:
    return Message(
        "",
        queue,
        delivery.body,
        _text(delivery.message_id) or new_message_id(),
        True,
        _text(delivery.content_type),
        _text(delivery.content_encoding),
        _travelling(delivery, user),
        2,
        delivery.priority,
        _text(delivery.correlation_id),
        _text(delivery.reply_to),
        None,
        delivery.timestamp,
        _text(delivery.type),
        delivery.user_id if delivery.user_id == user else None,
        _text(delivery.app_id),
    )


def _with(message: Message, entries: list[Entry], attempt: int, frame_max: int) -> Message:
    room = frame_max - FRAME_OVERHEAD - _SPARE - len(encode_properties(message, 2**31))
    told = fit([entry for entry in entries if entry.text or entry.least == 0], room)
    message.headers = {**(message.headers or {}), **told, names.ATTEMPT: attempt}
    return message


def _moment(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="milliseconds")


def _origin(delivery: Delivery, moment: str) -> list[Entry]:
    """Where it comes from, and when it failed first; the most important first."""
    before = delivery.headers
    return [
        Entry(names.ORIGINAL_QUEUE, delivery.queue),
        Entry(names.ORIGINAL_EXCHANGE, _kept(before, names.ORIGINAL_EXCHANGE, delivery.exchange), least=0),
        Entry(names.ORIGINAL_ROUTING_KEY, _kept(before, names.ORIGINAL_ROUTING_KEY, delivery.routing_key), least=0),
        Entry(names.FIRST_FAILURE_AT, _kept(before, names.FIRST_FAILURE_AT, moment)),
        Entry(names.ORIGINAL_EXPIRATION, _kept(before, names.ORIGINAL_EXPIRATION, delivery.expiration or "")),
    ]


def _exception(failure: Failure, most: int) -> list[Entry]:
    return [
        Entry(names.EXCEPTION_TYPE, failure.type),
        Entry(names.EXCEPTION_MESSAGE, failure.message, most=most, least=20),
    ]


def _traceback(failure: Failure) -> Entry:
    return Entry(names.EXCEPTION_TRACEBACK, failure.traceback, most=_TRACEBACK, least=100, middle=True)


def worker_identity(name: str) -> str:
    """``host:process id:worker name``."""
    return f"{socket.gethostname()}:{os.getpid()}:{name}"


def _kept(before: Mapping[str, Any], name: str, otherwise: str) -> str:
    """What an earlier attempt wrote stays."""
    value = before.get(name)
    return value if isinstance(value, str) else otherwise


def _travelling(delivery: Delivery, user: str) -> dict[str, Any]:
    """The message's own headers, without the broker's history and without what we write anew."""
    travelling: dict[str, Any] = {}
    readable = {_text(name) or "": value for name, value in delivery.headers.items()}
    for name, value in names.without_broker_history(readable).items():
        if name in ("CC", "BCC"):
            travelling[names.ORIGINAL_CC] = _sendable(name, value)
        elif name not in _WRITTEN_ANEW:
            travelling[name] = _sendable("value", value)
    if delivery.user_id and delivery.user_id != user:
        travelling[names.ORIGINAL_USER_ID] = delivery.user_id
    return travelling


_WRITTEN_ANEW = frozenset(
    {
        names.REASON,
        names.ORIGINAL_QUEUE,
        names.ORIGINAL_EXCHANGE,
        names.ORIGINAL_ROUTING_KEY,
        names.PARKED_AT,
        names.FIRST_FAILURE_AT,
        names.WORKER,
        names.EXCEPTION_TYPE,
        names.EXCEPTION_MESSAGE,
        names.EXCEPTION_TRACEBACK,
        names.ATTEMPT,
        names.DELAY_LEFT,
    }
)


def _sendable(name: str, value: Any) -> Any:
    """``value``, or its text where AMQP took it but pika cannot write it."""
    try:
        check_headers({name: value})
    except MessageError:
        return shorten(repr(value), _MESSAGE)
    return value


def _text(value: object) -> str | None:
    """A property as text: pika hands over bytes where a foreign client wrote no UTF-8."""
    if isinstance(value, bytes):
        return shorten(value.decode("latin-1"), 255)
    return value if isinstance(value, str) else None
