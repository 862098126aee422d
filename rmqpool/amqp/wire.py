"""Frames of a publish, marshalled with pika's own codec and joined so that a batch is one write.

Uses private names of pika's connection (``_adapter_emit_data``, ``_body_max_length``, ``_frame_buffer``); when one is gone,
messages go through pika's own ``basic_publish`` (AMQP 0-9-1, 2.3.5: method, header and body frames).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pika
from pika import frame, spec

from rmqpool.errors import MessageError, MessageTooLargeError
from rmqpool.message import Message

__all__ = [
    "FRAME_OVERHEAD",
    "encode_properties",
    "has_fast_path",
    "header_room",
    "leading_acks",
    "publish_through_pika",
    "write_batch",
]

FRAME_OVERHEAD = 8  # bytes: type, channel and size before the payload, the end mark after it
_HEADER_PREFIX = 12  # bytes of a header frame's payload before the properties: class, weight, body size
_BASIC_CLASS = 60
_HEADER_FRAME = struct.Struct(">BHIHHQ")  # type, channel, payload size; class, weight, body size
_BODY_FRAME = struct.Struct(">BHI")
_END = b"\xce"
_ACK_HEAD = struct.Struct(">BHIHH")  # type, channel, payload size; class 60, method 80
_ACK_SIZE = 21  # bytes of a basic.ack frame


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
    before, after = _around_message_id(
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
def _around_message_id(
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
        _HEADER_FRAME.pack(2, channel_number, _HEADER_PREFIX + len(properties), _BASIC_CLASS, 0, size),
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


def leading_acks(data: bytes, channel_number: int) -> tuple[list[tuple[int, bool]], int]:
    """The basic.ack frames of one channel with which ``data`` begins: (delivery tag, multiple) of each, and their bytes.

    Anything else (another frame, another channel, a part of a frame) ends the run and is left to pika.
    """
    head = _ACK_HEAD.pack(1, channel_number, 13, 60, 80)
    acks: list[tuple[int, bool]] = []
    position = 0
    while data.startswith(head, position) and data[position + _ACK_SIZE - 1 : position + _ACK_SIZE] == _END:
        tag = int.from_bytes(data[position + 11 : position + 19], "big")
        acks.append((tag, bool(data[position + 19] & 1)))
        position += _ACK_SIZE
    return acks, position


def has_fast_path(connection: Any) -> bool:
    """Whether pika still has the private names that :func:`write_batch` and :func:`leading_acks` need."""
    return (
        callable(getattr(connection, "_adapter_emit_data", None))
        and isinstance(getattr(connection, "_body_max_length", None), int)
        and isinstance(getattr(connection, "_frame_buffer", None), bytes)
    )


def write_batch(connection: Any, channel_number: int, batch: Sequence[tuple[Message, bytes]]) -> None:
    """Write messages (each with its encoded properties) with a single hand-over to the transport."""
    body_max = connection._body_max_length
    pieces: list[bytes] = []
    for message, properties in batch:
        pieces += marshal(channel_number, message, properties, body_max)
    connection.write(b"".join(pieces))


def publish_through_pika(channel: Any, batch: Sequence[tuple[Message, bytes]]) -> None:
    """The same through pika's own path."""
    for message, _ in batch:
        channel.basic_publish(
            message.exchange, message.routing_key, message.body, properties_of(message), mandatory=message.mandatory
        )
