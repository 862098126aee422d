"""Whatever the broker would refuse, or AMQP cannot encode, is refused here, before anything is written.

RabbitMQ answers a bad property by closing the channel (406) or the connection (501), and with it everything in flight,
without saying which message it was. A message that passes here does not do that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from rmqpool.codecs import encode_body
from rmqpool.errors import MessageError, MessageTooLargeError
from rmqpool.header_checks import check_headers
from rmqpool.identifiers import new_message_id
from rmqpool.message import Message

__all__ = ["check_expiration", "check_short_text", "prepare_message", "too_large"]

_LONGEST_EXPIRATION = 315_360_000_000  # milliseconds: ten years, the most that RabbitMQ takes
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z; more is a time in milliseconds by mistake


def prepare_message(
    exchange: str,
    routing_key: str,
    body: object,
    *,
    max_message_size: int,
    connection_user: str | None = None,
    new_id: Callable[[], str] = new_message_id,
    message_id: str | None = None,
    headers: Mapping[str, Any] | None = None,
    priority: int | None = None,
    expiration: float | timedelta | str | None = None,
    correlation_id: str | None = None,
    reply_to: str | None = None,
    type: str | None = None,
    user_id: str | None = None,
    app_id: str | None = None,
    timestamp: datetime | int | None = None,
    content_type: str | None = None,
    content_encoding: str | None = None,
    compression: str | None = None,
    persistent: bool = True,
    mandatory: bool = True,
) -> Message:
    """A message that can be sent, with a new ``message_id`` unless one is given.

    ``expiration`` is seconds or a timedelta; a text is milliseconds, as AMQP writes it. ``timestamp`` is seconds since
    the epoch or an aware datetime. ``max_message_size`` is bytes. ``content_encoding`` is for bodies of bytes that are
    encoded already. ``connection_user`` None leaves ``user_id`` to the broker. Pure and thread-safe.

    Raises MessageError, its ``field`` names what is wrong (EncodeError: the body, MessageTooLargeError: its size).
    """
    _check_route(exchange, routing_key)
    if content_type is not None:
        check_short_text("content_type", content_type)
    encoded = encode_body(body, content_type, compression=compression)
    if len(encoded.body) > max_message_size:
        raise too_large(len(encoded.body), max_message_size)
    message = Message(
        exchange,
        routing_key,
        encoded.body,
        new_id() if message_id is None else check_short_text("message_id", message_id),
        mandatory,
        encoded.content_type,
        encoded.content_encoding,
        None,
        2 if persistent else 1,
    )
    if content_encoding is not None:
        message.content_encoding = _content_encoding(content_encoding, body, compression)
    if headers:
        message.headers = check_headers(headers)
    if priority is not None:
        message.priority = _priority(priority)
    if expiration is not None:
        message.expiration = check_expiration(expiration)
    if timestamp is not None:
        message.timestamp = _timestamp(timestamp)
    if user_id is not None:
        message.user_id = _user_id(user_id, connection_user)
    if correlation_id is not None:
        message.correlation_id = check_short_text("correlation_id", correlation_id)
    if reply_to is not None:
        message.reply_to = check_short_text("reply_to", reply_to)
    if type is not None:
        message.type = check_short_text("type", type)
    if app_id is not None:
        message.app_id = check_short_text("app_id", app_id)
    return message


def check_short_text(field: str, text: object) -> str:
    """``text``, if it fits into an AMQP short string: 255 bytes of UTF-8. Raises MessageError."""
    if not isinstance(text, str):
        raise MessageError(f"{field} must be a text, not {type(text).__name__}", field=field)
    if len(text) < 64 and text.isascii():
        return text
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise MessageError(f"{field} holds half a surrogate pair, which UTF-8 cannot hold", field=field) from None
    if size > 255:
        raise MessageError(f"{field} has {size} bytes; AMQP takes at most 255", field=field)
    return text


def check_expiration(expiration: object) -> str:
    """The text in milliseconds for seconds, a timedelta, or a text that is one already. Raises MessageError."""
    if isinstance(expiration, str):
        if not (expiration.isascii() and expiration.isdigit()) or len(expiration) > 18:
            raise MessageError(
                "expiration is a text that is no whole number of milliseconds; or give seconds as a number",
                field="expiration",
            )
        milliseconds = int(expiration)
    else:
        milliseconds = _milliseconds(expiration)
    if not 0 <= milliseconds <= _LONGEST_EXPIRATION:
        raise MessageError(
            f"expiration is {milliseconds} ms; it must be from 0 to {_LONGEST_EXPIRATION} ms (ten years)",
            field="expiration",
        )
    return str(milliseconds)


def _milliseconds(expiration: object) -> int:
    seconds = expiration.total_seconds() if isinstance(expiration, timedelta) else expiration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise MessageError(
            f"expiration must be seconds (a finite number), a timedelta, or milliseconds as text, "
            f"not {type(expiration).__name__}",
            field="expiration",
        )
    return math.ceil(seconds * 1000) if seconds > 0 else math.floor(seconds * 1000)


def _check_route(exchange: str, routing_key: str) -> None:
    try:
        _check_route_once(exchange, routing_key)
    except TypeError:  # unhashable, so neither of them was a text
        check_short_text("exchange", exchange)
        check_short_text("routing_key", routing_key)


@functools.lru_cache(maxsize=4096, typed=True)
def _check_route_once(exchange: str, routing_key: str) -> None:
    check_short_text("exchange", exchange)
    check_short_text("routing_key", routing_key)


def _content_encoding(content_encoding: object, body: object, compression: str | None) -> str:
    if compression is not None or not isinstance(body, bytes | bytearray | memoryview):
        raise MessageError(
            "content_encoding goes with a body of bytes that is encoded already; use compression= otherwise",
            field="content_encoding",
        )
    return check_short_text("content_encoding", content_encoding)


def _priority(priority: object) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 255:
        raise MessageError("priority must be a whole number from 0 to 255", field="priority")
    return int(priority)


def _timestamp(timestamp: object) -> int:
    if isinstance(timestamp, datetime):
        if timestamp.utcoffset() is None:
            raise MessageError("timestamp has no time zone: use datetime.now(timezone.utc)", field="timestamp")
        timestamp = math.floor(timestamp.timestamp())
    if isinstance(timestamp, bool) or not isinstance(timestamp, int):
        raise MessageError("timestamp must be an aware datetime or whole seconds since 1970", field="timestamp")
    if not 0 <= timestamp <= _LAST_SECOND:
        raise MessageError(
            f"timestamp is {timestamp}; it must be seconds since 1970, up to the year 9999", field="timestamp"
        )
    return int(timestamp)


def _user_id(user_id: object, connection_user: str | None) -> str:
    text = check_short_text("user_id", user_id)
    if connection_user is not None and text != connection_user:
        raise MessageError(
            "user_id is not the user of this connection, and the broker refuses that (406): leave it out",
            field="user_id",
        )
    return text


def too_large(size: int, limit: int) -> MessageTooLargeError:
    """The error for a body of ``size`` bytes where the broker takes ``limit``."""
    return MessageTooLargeError(
        f"the body has {size} bytes, and the broker takes {limit}: send a reference to it, use compression='gzip', "
        "or raise max_message_size there and here",
        field="body",
    )
