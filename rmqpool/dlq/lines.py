"""A dead letter as a line of JSON, and back: body, properties and headers, with the types that AMQP has. Pure.

A body of UTF-8 is ``body``, any other ``body_base64``. What JSON has not is an object with one key: ``$bytes`` (base64),
``$time`` (ISO 8601), ``$decimal`` (text); a table that looks like one of them is wrapped in ``$table``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from rmqpool.dlq.letter import DeadLetter
from rmqpool.errors import MessageError
from rmqpool.message import Delivery

__all__ = ["PROPERTIES", "letter_of", "line_of"]

FORMAT = 1
_MARK = "rmqpool_dead_letter"
PROPERTIES: Mapping[str, type] = {
    "message_id": str,
    "type": str,
    "content_type": str,
    "content_encoding": str,
    "delivery_mode": int,
    "priority": int,
    "correlation_id": str,
    "reply_to": str,
    "expiration": str,
    "timestamp": int,
    "user_id": str,
    "app_id": str,
}
"""The properties (AMQP 0-9-1, basic class) with their types; the headers stand apart."""


def line_of(letter: DeadLetter) -> bytes:
    """One line, with its end. Raises DecodeError if what was sent cannot be read."""
    delivery = letter.delivery
    record: dict[str, Any] = {_MARK: FORMAT, "queue": letter.queue, "reason": letter.reason}
    record["properties"] = {
        name: _encoded(value) for name in PROPERTIES if (value := getattr(delivery, name)) is not None
    }
    record["exchange"], record["routing_key"] = _encoded(delivery.exchange), _encoded(delivery.routing_key)
    record["headers"] = {name: _encoded(value) for name, value in letter.headers.items()}
    try:
        record["body"] = delivery.body.decode()
    except UnicodeDecodeError:
        record["body_base64"] = base64.b64encode(delivery.body).decode()
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"


def letter_of(line: bytes) -> DeadLetter:
    """The dead letter of a line. Raises MessageError, which says what is wrong with it."""
    record = _record(line)
    if record.get(_MARK) != FORMAT:
        raise MessageError(f"not a line that rmqpool dlq export wrote (it has no {_MARK!r}: {FORMAT})", field=_MARK)
    try:
        properties = _table(record, "properties")
        headers = _table(record, "headers")
        body = _body(record)
        exchange, routing_key = _decoded(record.get("exchange", "")), _decoded(record.get("routing_key", ""))
    except (ValueError, InvalidOperation, TypeError, RecursionError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError(f"a value in it cannot be read ({error})", field="headers") from None
    for name, value in properties.items():
        kind = PROPERTIES.get(name)
        if kind is None or (type(value) is not kind and not (kind is str and type(value) is bytes)):
            raise MessageError(f"{name!r} is no property, or its value is of the wrong type", field=name)
    return DeadLetter(Delivery(body, exchange, routing_key, 0, False, headers=headers, **properties))


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise MessageError(f"not UTF-8 (byte {error.start + 1} of the line)", field="line") from None
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else "; the file seems to be cut off here"
        raise MessageError(f"not JSON ({getattr(error, 'msg', 'nested too deeply')}){cut}", field="line") from None
    if not isinstance(record, dict):
        raise MessageError("not a JSON object", field="line")
    return record


def _table(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = record.get(name, {})
    if not isinstance(table, dict):
        raise MessageError(f"{name!r} is no object", field=name)
    return {key: _decoded(value) for key, value in table.items()}


def _body(record: Mapping[str, Any]) -> bytes:
    text, encoded = record.get("body"), record.get("body_base64")
    if isinstance(text, str) and encoded is None:
        return text.encode()
    if isinstance(encoded, str) and text is None:
        return base64.b64decode(encoded, validate=True)
    raise MessageError("neither 'body' nor 'body_base64' is a text, or both are there", field="body")


def _encoded(value: Any) -> Any:
    if isinstance(value, Mapping):
        table = {
            name if isinstance(name, str) else name.decode("latin-1"): _encoded(inner) for name, inner in value.items()
        }
        return {"$table": table} if len(table) == 1 and next(iter(table)).startswith("$") else table
    if isinstance(value, list | tuple):
        return [_encoded(inner) for inner in value]
    if isinstance(value, bytes | bytearray):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"$time": (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name == "$table":
            return {key: _decoded(one) for key, one in dict(inner).items()}
        if name in _TAGS:
            return _TAGS[name](inner)
    return {key: _decoded(inner) for key, inner in value.items()}


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"$bytes: {error}") from None


_TAGS: dict[str, Callable[[Any], Any]] = {"$bytes": _bytes, "$time": datetime.fromisoformat, "$decimal": Decimal}
