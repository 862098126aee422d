"""The methods that a client may send on a channel, and the shape of their arguments (AMQP 0-9-1, and RabbitMQ's additions).

Pure. What is not in this table, or has another shape, would end the broker's whole connection: it is refused before.
"""

from __future__ import annotations

import struct
from typing import Any

from rmqpool.agent.tables import check_table
from rmqpool.agent.violation import Violation

__all__ = [
    "ACK",
    "CANCEL",
    "CANCEL_OK",
    "CHANNEL_CLOSE",
    "CHANNEL_CLOSE_OK",
    "CHANNEL_OPEN",
    "CHANNEL_OPEN_OK",
    "CONFIRM_SELECT",
    "CONSUME",
    "CONSUME_OK",
    "EXCHANGE_DECLARE",
    "FLOW",
    "GET",
    "NACK",
    "PUBLISH",
    "PURGE",
    "QOS",
    "QUEUE_DECLARE",
    "QUEUE_DELETE",
    "RECOVER",
    "RECOVER_ASYNC",
    "SHAPES",
    "arguments_of",
    "publish_bits",
]

CHANNEL_OPEN, CHANNEL_OPEN_OK, FLOW = 0x14000A, 0x14000B, 0x140014
CHANNEL_CLOSE, CHANNEL_CLOSE_OK = 0x140028, 0x140029
EXCHANGE_DECLARE, QUEUE_DECLARE, PURGE, QUEUE_DELETE = 0x28000A, 0x32000A, 0x32001E, 0x320028
QOS, CONSUME, CONSUME_OK, CANCEL, CANCEL_OK, GET = 0x3C000A, 0x3C0014, 0x3C0015, 0x3C001E, 0x3C001F, 0x3C0046
PUBLISH, ACK, RECOVER_ASYNC, RECOVER, NACK = 0x3C0028, 0x3C0050, 0x3C0064, 0x3C006E, 0x3C0078
CONFIRM_SELECT = 0x55000A

# H short, L long, Q long-long, s short text, b an octet of bits, t table
SHAPES: dict[int, str] = {
    CHANNEL_OPEN: "s",
    FLOW: "b",
    CHANNEL_CLOSE: "HsHH",
    CHANNEL_CLOSE_OK: "",
    0x1E000A: "sb",  # access.request
    EXCHANGE_DECLARE: "Hssbt",
    0x280014: "Hsb",  # exchange.delete
    0x28001E: "Hsssbt",  # exchange.bind
    0x280028: "Hsssbt",  # exchange.unbind
    QUEUE_DECLARE: "Hsbt",
    0x320014: "Hsssbt",  # queue.bind
    PURGE: "Hsb",
    QUEUE_DELETE: "Hsb",
    0x320032: "Hssst",  # queue.unbind
    QOS: "LHb",
    CONSUME: "Hssbt",
    CANCEL: "sb",
    PUBLISH: "Hssb",
    GET: "Hsb",
    ACK: "Qb",
    0x3C005A: "Qb",  # basic.reject
    RECOVER_ASYNC: "b",
    RECOVER: "b",
    NACK: "Qb",
    CONFIRM_SELECT: "b",
    0x5A000A: "",  # tx.select
    0x5A0014: "",  # tx.commit
    0x5A001E: "",  # tx.rollback
}
_NUMBERS = {"H": struct.Struct(">H"), "L": struct.Struct(">I"), "Q": struct.Struct(">Q"), "b": struct.Struct(">B")}


def arguments_of(method: int, data: bytes | bytearray | memoryview, at: int, end: int) -> list[Any]:
    """The arguments between ``at`` and ``end``: numbers, texts and tables as bytes. Raises Violation."""
    shape = SHAPES.get(method)
    if shape is None:
        raise Violation(503, f"COMMAND_INVALID - no client sends method {method >> 16}.{method & 0xFFFF} on a channel")
    values: list[Any] = []
    for kind in shape:
        if kind == "s":
            start = at + 1
            at = start + data[at] if at < end else end + 1
            values.append(_text(data, start, at))
        elif kind == "t":
            start, at = at, check_table(data, at, end)
            values.append(bytes(data[start:at]))
        else:
            number = _NUMBERS[kind]
            values.append(number.unpack_from(data, at)[0] if at + number.size <= end else 0)
            at += number.size
        if at > end:
            break
    if at != end:
        raise Violation(502, f"SYNTAX_ERROR - method {method >> 16}.{method & 0xFFFF} has arguments of another size")
    return values


def publish_bits(data: bytearray, at: int, end: int) -> int:
    """The bits of a basic.publish whose arguments are between ``at`` and ``end``: as arguments_of, but fast."""
    exchange = at + 2
    if exchange < end:
        routing_key = exchange + 1 + data[exchange]
        if routing_key < end and routing_key + 1 + data[routing_key] == end - 1:
            if not data[at:end].isascii():  # a long name, or not of ASCII only
                _text(data, exchange + 1, routing_key)
                _text(data, routing_key + 1, end - 1)
            return data[end - 1]
    raise Violation(502, "SYNTAX_ERROR - method 60.40 has arguments of another size")


def _text(data: bytes | bytearray | memoryview, start: int, end: int) -> bytes:
    """A short string, which RabbitMQ wants in UTF-8."""
    text = bytes(data[start:end])
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            raise Violation(501, "FRAME_ERROR - Malformed UTF-8 in shortstr") from None
    return text
