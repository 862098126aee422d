"""The copy of a failed message that is parked: same body, same properties, and why it is there. No I/O.

What must not travel is taken off, and kept in a header of ours: an expiration would delete the parked message, a foreign
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

__all__ = ["parked_message", "worker_identity"]

_TRACEBACK = 16 * 1024  # bytes; what a person reads
_MESSAGE = 2 * 1024
_SPARE = 512  # bytes: the frame's own fields, and the attempt


def parked_message(
    delivery: Delivery, failure: Failure, queue: str, *, worker: str, user: str, frame_max: int, now: datetime
) -> Message:
    """The message for ``queue`` (by the default exchange), always persistent; it fits into frames of ``frame_max`` bytes.

    ``worker`` is :func:`worker_identity`, ``user`` the user of our connection, ``now`` an aware time. A message without
    an id gets one: without it nobody could tell which message the broker returned.
    """
    message = Message(
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
    room = frame_max - FRAME_OVERHEAD - _SPARE - len(encode_properties(message, 2**31))
    told = fit(_entries(delivery, failure, worker, now), room)
    message.headers = {**(message.headers or {}), **told, names.ATTEMPT: delivery.attempt}
    return message


def worker_identity(name: str) -> str:
    """``host:process id:worker name``."""
    return f"{socket.gethostname()}:{os.getpid()}:{name}"


def _entries(delivery: Delivery, failure: Failure, worker: str, now: datetime) -> list[Entry]:
    """Our headers, the most important first."""
    moment = now.astimezone(UTC).isoformat(timespec="milliseconds")
    before = delivery.headers
    entries = [
        Entry(names.REASON, failure.reason),
        Entry(names.ORIGINAL_QUEUE, delivery.queue),
        Entry(names.ORIGINAL_EXCHANGE, _kept(before, names.ORIGINAL_EXCHANGE, delivery.exchange), least=0),
        Entry(names.ORIGINAL_ROUTING_KEY, _kept(before, names.ORIGINAL_ROUTING_KEY, delivery.routing_key), least=0),
        Entry(names.PARKED_AT, moment),
        Entry(names.FIRST_FAILURE_AT, _kept(before, names.FIRST_FAILURE_AT, moment)),
    ]
    optional = [
        Entry(names.ORIGINAL_EXPIRATION, delivery.expiration or ""),
        Entry(names.WORKER, worker),
        Entry(names.EXCEPTION_TYPE, failure.type),
        Entry(names.EXCEPTION_MESSAGE, failure.message, most=_MESSAGE, least=20),
        Entry(names.EXCEPTION_TRACEBACK, failure.traceback, most=_TRACEBACK, least=100, middle=True),
    ]
    return entries + [entry for entry in optional if entry.text]


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
