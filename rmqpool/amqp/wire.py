"""The bytes of the frames that are written and read by the million: publish, ack, nack, reject, return, deliver, get-ok.

Pure functions from values to bytes and back (AMQP 0-9-1, 2.3.5 and 4.2). Properties and tables go through pika's own codec,
and every other method is pika's altogether; frame_reader.py finds the frames in a stream.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol

import pika
from pika import frame, spec

from rmqpool.errors import MessageError, MessageTooLargeError
from rmqpool.message import Message

__all__ = [
    "ACK",
    "BASIC_CLASS",
    "CONTENT_METHODS",
    "DELIVER",
    "FRAME_END",
    "FRAME_OVERHEAD",
    "GET_OK",
    "NACK",
    "RETURN",
    "Content",
    "PropertiesError",
    "around_message_id",
    "decode_properties",
    "encode_properties",
    "header_room",
    "marshal",
    "marshal_ack",
    "marshal_batch",
    "marshal_get",
    "marshal_nack",
    "marshal_reject",
    "parse_deliver",
    "parse_get_ok",
    "parse_return",
    "properties_of",
]

Content = tuple[int, bytes, bytes, bytes]
"""A message as it was read: method id, the method's arguments, encoded properties (flags and values), body."""

FRAME_OVERHEAD = 8  # bytes: type, channel and size before the payload, the end mark after it
FRAME_END = 0xCE
BASIC_CLASS = 60
RETURN, DELIVER, GET_OK, ACK, NACK = 0x3C0032, 0x3C003C, 0x3C0047, 0x3C0050, 0x3C0078
CONTENT_METHODS = frozenset({RETURN, DELIVER, GET_OK})
_HEADER_PREFIX = 12  # bytes of a header frame's payload before the properties: class, weight, body size
_HEADER_FRAME = struct.Struct(">BHIHHQ")  # type, channel, payload size; class, weight, body size
_BODY_FRAME = struct.Struct(">BHI")
_END_AND_BODY_FRAME = struct.Struct(">BBHI")  # the end of the header frame, and the beginning of the body frame
_SETTLE_FRAME = struct.Struct(">BHIIQBB")  # type, channel, payload size; method, delivery tag, bits, end mark
_SETTLE_SIZE = 13  # bytes of the payload of basic.ack, nack and reject
_REJECT = 0x3C005A
_END = b"\xce"


class PropertiesError(ValueError):
    """The encoded properties of a message that was received are not what AMQP calls properties."""


def properties_of(message: Message) -> pika.BasicProperties:
    """pika's properties object for a message."""
    return pika.BasicProperties(
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=message.headers or None,
        delivery_mode=message.delivery_mode,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        expiration=message.expiration,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        user_id=message.user_id,
        app_id=message.app_id,
    )


def encode_properties(message: Message, frame_max: int) -> bytes:
    """The property flags and values of a header frame.

    Raises MessageError for a header that AMQP cannot carry, MessageTooLargeError if the headers do not fit into one frame
    of ``frame_max`` bytes: the broker would answer that with 501 and end the whole connection.
    """
    try:
        encoded = _encode(message)
    except Exception as error:
        raise MessageError(
            f"the properties of message {message.message_id} cannot be encoded for AMQP ({error}): check its headers",
            field="headers",
        ) from error
    size = len(encoded) + _HEADER_PREFIX + FRAME_OVERHEAD
    if size > frame_max:
        raise MessageTooLargeError(
            f"the headers of message {message.message_id} take {size} bytes; one frame holds {frame_max}: "
            "put large values into the body",
            field="headers",
        )
    return encoded


def header_room(frame_max: int) -> int:
    """The bytes of encoded properties that fit into one frame of ``frame_max`` bytes."""
    return frame_max - _HEADER_PREFIX - FRAME_OVERHEAD


_SENTINEL = "id-to-be-replaced-0123456789abcdef"


def _encode(message: Message) -> bytes:
    if message.headers:
        return b"".join(properties_of(message).encode())
    before, after = around_message_id(
        message.content_type,
        message.content_encoding,
        message.delivery_mode,
        message.priority,
        message.correlation_id,
        message.reply_to,
        message.expiration,
        message.timestamp,
        message.type,
        message.user_id,
        message.app_id,
    )
    message_id = message.message_id.encode()
    return b"".join((before, len(message_id).to_bytes(1, "big"), message_id, after))


@lru_cache(maxsize=1024)
def around_message_id(
    content_type: str | None,
    content_encoding: str | None,
    delivery_mode: int,
    priority: int | None,
    correlation_id: str | None,
    reply_to: str | None,
    expiration: str | None,
    timestamp: int | None,
    type: str | None,
    user_id: str | None,
    app_id: str | None,
) -> tuple[bytes, bytes]:
    """Properties differ in their message_id only, mostly: what stands before and after it is encoded once a set."""
    properties = pika.BasicProperties(
        content_type=content_type,
        content_encoding=content_encoding,
        delivery_mode=delivery_mode,
        priority=priority,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration=expiration,
        message_id=_SENTINEL,
        timestamp=timestamp,
        type=type,
        user_id=user_id,
        app_id=app_id,
    )
    before, after = b"".join(properties.encode()).split(bytes([len(_SENTINEL)]) + _SENTINEL.encode())
    return before, after


@lru_cache(maxsize=1024)
def _method_frame(channel_number: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return bytes(frame.Method(channel_number, method).marshal())


def marshal(channel_number: int, message: Message, properties: bytes, body_max: int) -> list[bytes]:
    """All frames of one publish, as pieces to be joined; ``body_max`` is the payload that one body frame may have."""
    body = message.body
    size = len(body)
    pieces = [
        _method_frame(channel_number, message.exchange, message.routing_key, message.mandatory),
        _HEADER_FRAME.pack(2, channel_number, _HEADER_PREFIX + len(properties), BASIC_CLASS, 0, size),
        properties,
        _END,
    ]
    if size <= body_max:
        if size:
            pieces += (_BODY_FRAME.pack(3, channel_number, size), body, _END)
        return pieces
    for start in range(0, size, body_max):
        part = body[start : start + body_max]
        pieces += (_BODY_FRAME.pack(3, channel_number, len(part)), part, _END)
    return pieces


class Publish(Protocol):
    """A message with its encoded properties."""

    message: Message
    header: bytes


def marshal_batch(channel_number: int, publishes: Iterable[Publish], body_max: int) -> bytes:
    """All frames of several publishes, to be written at once. The same bytes as :func:`marshal` makes, in one loop."""
    pieces: list[bytes] = []
    header_frame, body_frame = _HEADER_FRAME.pack, _END_AND_BODY_FRAME.pack
    for publish in publishes:
        message, properties = publish.message, publish.header
        body = message.body
        size = len(body)
        if 0 < size <= body_max:
            pieces += (
                _method_frame(channel_number, message.exchange, message.routing_key, message.mandatory),
                header_frame(2, channel_number, _HEADER_PREFIX + len(properties), BASIC_CLASS, 0, size),
                properties,
                body_frame(FRAME_END, 3, channel_number, size),
                body,
                _END,
            )
        else:
            pieces += marshal(channel_number, message, properties, body_max)
    return b"".join(pieces)


def marshal_ack(channel_number: int, delivery_tag: int, multiple: bool) -> bytes:
    """A basic.ack frame."""
    return _SETTLE_FRAME.pack(1, channel_number, _SETTLE_SIZE, ACK, delivery_tag, multiple, FRAME_END)


def marshal_nack(channel_number: int, delivery_tag: int, multiple: bool, requeue: bool) -> bytes:
    """A basic.nack frame."""
    bits = (1 if multiple else 0) | (2 if requeue else 0)
    return _SETTLE_FRAME.pack(1, channel_number, _SETTLE_SIZE, NACK, delivery_tag, bits, FRAME_END)


def marshal_reject(channel_number: int, delivery_tag: int, requeue: bool) -> bytes:
    """A basic.reject frame."""
    return _SETTLE_FRAME.pack(1, channel_number, _SETTLE_SIZE, _REJECT, delivery_tag, requeue, FRAME_END)


def marshal_get(channel_number: int, queue: str, auto_ack: bool) -> bytes:
    """A basic.get frame."""
    return bytes(frame.Method(channel_number, spec.Basic.Get(queue=queue, no_ack=auto_ack)).marshal())


def parse_deliver(arguments: bytes) -> tuple[str, int, bool, str, str]:
    """Of a basic.deliver: consumer tag, delivery tag, redelivered, exchange, routing key."""
    method = _decoded(spec.Basic.Deliver(), arguments)
    return method.consumer_tag, method.delivery_tag, method.redelivered, method.exchange, method.routing_key


def parse_get_ok(arguments: bytes) -> tuple[int, bool, str, str, int]:
    """Of a basic.get-ok: delivery tag, redelivered, exchange, routing key, messages left in the queue."""
    method = _decoded(spec.Basic.GetOk(), arguments)
    return method.delivery_tag, method.redelivered, method.exchange, method.routing_key, method.message_count


def parse_return(arguments: bytes) -> tuple[int, str, str, str]:
    """Of a basic.return: reply code, reply text, exchange, routing key."""
    method = _decoded(spec.Basic.Return(), arguments)
    return method.reply_code, method.reply_text, method.exchange, method.routing_key


def decode_properties(encoded: bytes) -> pika.BasicProperties:
    """The properties of a header frame (its payload behind class, weight and body size). Raises PropertiesError."""
    return _decoded(pika.BasicProperties(), encoded)


def _decoded(value: Any, encoded: bytes) -> Any:
    """Filled by pika's codec, which raises whatever comes up in it."""
    try:
        value.decode(encoded)
    except Exception as error:
        raise PropertiesError(f"{type(value).__name__} cannot be decoded ({type(error).__name__}: {error})") from error
    return value
