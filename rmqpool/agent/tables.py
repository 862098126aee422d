"""Whether tables and message properties can be read by RabbitMQ. Pure; nothing is decoded, only walked through.

RabbitMQ decodes them late, inside the channel's process, and what it cannot decode ends the whole connection (541): here
it would be everybody's. So whatever is not surely readable is refused before (AMQP 0-9-1, 4.2.5.5, as corrected in
rabbitmq.com/amqp-0-9-1-errata, section 3).
"""

from __future__ import annotations

import math
import struct

from rmqpool.agent.violation import Violation

__all__ = ["check_properties", "check_table"]

_DEEPEST = 64  # tables in tables
_FIXED = {ord(kind): size for kind, size in zip("tbBsuIildDfT", (1, 1, 1, 2, 2, 4, 4, 8, 8, 5, 4, 8), strict=True)}
_VOID, _TABLE, _ARRAY = ord("V"), ord("F"), ord("A")
_LONG_TEXTS = frozenset(b"Sx")
_FLOATS = {ord("f"): struct.Struct(">f"), ord("d"): struct.Struct(">d")}
_LONG = struct.Struct(">I")
_SHORTSTR, _TABLE_FIELD = 0, -1
# Highest flag bit first: content_type, content_encoding, headers, delivery_mode, priority, correlation_id, reply_to,
# expiration, message_id, timestamp, type, user_id, app_id, cluster_id. Else: the size in bytes.
_PROPERTIES = tuple(zip(range(15, 1, -1), (0, 0, _TABLE_FIELD, 1, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0), strict=True))
_Buffer = bytes | bytearray | memoryview


def _broken(what: str) -> Violation:
    return Violation(502, f"SYNTAX_ERROR - {what}")


def check_table(data: _Buffer, at: int, end: int) -> int:
    """A table begins at ``at``; returns where it ends, at most ``end``. Raises Violation."""
    return _table(data, at, end, 0)


def _table(data: _Buffer, at: int, end: int, depth: int) -> int:
    at, stop = _bounds(data, at, end, depth)
    while at < stop:
        at += 1 + data[at]  # the name
        if at >= stop:
            raise _broken("a table ends in the middle of a name")
        at = _value(data, at, stop, depth)
    return at


def _array(data: _Buffer, at: int, end: int, depth: int) -> int:
    at, stop = _bounds(data, at, end, depth)
    while at < stop:
        at = _value(data, at, stop, depth)
    return at


def _bounds(data: _Buffer, at: int, end: int, depth: int) -> tuple[int, int]:
    if depth > _DEEPEST:
        raise _broken(f"tables are nested more than {_DEEPEST} deep")
    if at + 4 > end:
        raise _broken("a table or array is cut off")
    at, stop = at + 4, at + 4 + _LONG.unpack_from(data, at)[0]
    if stop > end:
        raise _broken("a table or array is longer than what holds it")
    return at, stop


def _value(data: _Buffer, at: int, stop: int, depth: int) -> int:
    """A value with its type begins at ``at`` (below ``stop``); returns where it ends."""
    kind, at = data[at], at + 1
    if kind in _FIXED:
        after = at + _FIXED[kind]
        if kind in _FLOATS and after <= stop and not math.isfinite(_FLOATS[kind].unpack_from(data, at)[0]):
            raise _broken("a number in a table is infinite or no number")
    elif kind in _LONG_TEXTS:
        after = at + 4 + _LONG.unpack_from(data, at)[0] if at + 4 <= stop else stop + 1
    elif kind == _TABLE:
        after = _table(data, at, stop, depth + 1)
    elif kind == _ARRAY:
        after = _array(data, at, stop, depth + 1)
    elif kind == _VOID:
        after = at
    else:
        raise _broken(f"a value in a table is of the unknown type {kind:#04x}")
    if after > stop:
        raise _broken("a value in a table is cut off")
    return after


def check_properties(data: _Buffer, at: int, end: int) -> None:
    """The flags and values of a content header fill ``at`` to ``end``. Raises Violation."""
    flags = data[at] << 8 | data[at + 1] if at + 2 <= end else 3
    if flags & 3:
        raise _broken("the flags of a message's properties are cut off, or unknown ones are set")
    at += 2
    for bit, size in _PROPERTIES:
        if not flags >> bit & 1:
            continue
        if size == _SHORTSTR:
            at += 1 + data[at] if at < end else 1
        elif size == _TABLE_FIELD:
            at = check_table(data, at, end)
        else:
            at += size
        if at > end:
            raise _broken("a message's properties are cut off")
    if at != end:
        raise _broken("there are bytes behind a message's properties")
