"""From a body and its options to the columns of a row, and from a row back to a message. Pure but for a new id."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from rmqpool.amqp.wire import encode_properties
from rmqpool.codecs import JSON
from rmqpool.core.lanes import lane_of
from rmqpool.errors import MessageError
from rmqpool.message import Message
from rmqpool.outbox.headers_json import headers_from_json, headers_to_json, plain_text
from rmqpool.preparation import prepare_message

__all__ = ["Columns", "OutboxOptions", "Row", "check_key", "message_of", "prepare_row_message"]

_LONGEST_KEY = 255  # bytes
_FRAME_MAX = 131_072  # bytes: RabbitMQ's default; the headers must fit into one frame
_ENCODING = "utf-8"  # what the codec of JSON says
_OPTIONAL = (
    "priority",
    "expiration",
    "correlation_id",
    "reply_to",
    "timestamp",
    "type",
    "user_id",
    "app_id",
)


class OutboxOptions(TypedDict, total=False):
    """Properties of one message, as :class:`rmqpool.MessageOptions` has them; how it is published is the relay's business."""

    headers: Mapping[str, Any] | None
    message_id: str | None
    priority: int | None
    expiration: float | timedelta | str | None
    correlation_id: str | None
    reply_to: str | None
    type: str | None
    user_id: str | None
    app_id: str | None
    timestamp: datetime | int | None
    content_type: str | None
    content_encoding: str | None
    compression: str | None
    persistent: bool
    mandatory: bool


@dataclass(slots=True)
class Columns:
    """Rows as columns: the parameters 1 to 8 of :func:`rmqpool.outbox.statements.insert_rows`, in order."""

    lanes: list[int] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    exchanges: list[str] = field(default_factory=list)
    routing_keys: list[str] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    properties: list[str | None] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def add(self, message: Message, key: str | None, lane_without_key: Callable[[], int]) -> None:
        """One row more. ``lane_without_key`` gives the lane of a row that no key binds to one."""
        row_id, properties = _properties_of(message)
        self.lanes.append(lane_without_key() if key is None else lane_of(key))
        self.keys.append(key)
        self.exchanges.append(message.exchange)
        self.routing_keys.append(message.routing_key)
        self.message_ids.append(row_id)
        self.properties.append(properties)
        self.headers.append(headers_to_json(message.headers) if message.headers else None)
        self.bodies.append(message.body)

    def parameters(self) -> list[Any]:
        """The eight parameters."""
        return [
            self.lanes,
            self.keys,
            self.exchanges,
            self.routing_keys,
            self.message_ids,
            self.properties,
            self.headers,
            self.bodies,
        ]


class Row(NamedTuple):
    """A row of the outbox as a relay reads it; ``properties`` and ``headers`` are texts of JSON."""

    id: int
    lane: int
    key: str | None
    exchange: str
    routing_key: str
    message_id: str
    properties: str | None
    headers: str | None
    body: bytes

    @property
    def stall(self) -> str:
        """What stalls when this row fails: its key, or the row alone."""
        return f"row:{self.id}" if self.key is None else f"key:{self.key}"

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)


def check_key(key: object) -> str | None:
    """``key``, if it can be one. Raises MessageError."""
    if key is None:
        return None
    if not isinstance(key, str) or not key:
        raise MessageError(f"key must be a text that is not empty, or None, not {key!r:.80}", field="key")
    _check_nul("key", key)
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise MessageError("key holds half a surrogate pair, which UTF-8 cannot hold", field="key") from None
    if size > _LONGEST_KEY:
        raise MessageError(f"key has {size} bytes; at most {_LONGEST_KEY} are taken: use a digest of it", field="key")
    return key


def prepare_row_message(
    exchange: str, routing_key: str, body: object, max_message_size: int, options: OutboxOptions
) -> Message:
    """The message, with every check that Publisher makes, and those of Postgres. Raises MessageError."""
    if not exchange and not isinstance(routing_key, str):
        raise MessageError(
            f"queue must be a text, the name of a queue, not {type(routing_key).__name__}", field="queue"
        )
    if not exchange and not routing_key:
        raise MessageError("queue is empty; give the name of a queue, or an exchange to publish_to", field="queue")
    unknown = sorted(set(options) - set(OutboxOptions.__annotations__))
    if unknown:
        known = ", ".join(sorted(OutboxOptions.__annotations__))
        raise MessageError(f"unknown option {', '.join(unknown)}: known are key, at, delay, {known}", field=unknown[0])
    message = prepare_message(exchange, routing_key, body, max_message_size=max_message_size, **options)
    _check_nul("exchange", exchange)
    _check_nul("routing_key", routing_key)
    if message.headers:
        encode_properties(message, _FRAME_MAX)  # headers that fit into no frame are refused before they are stored
    return message


def message_of(row: Row) -> Message:
    """The message that the row stands for. Raises ValueError for properties or headers that nobody of us wrote."""
    message = Message(row.exchange, row.routing_key, row.body, row.message_id)
    message.content_type, message.content_encoding = JSON, _ENCODING
    if row.properties is not None:
        for name, value in _read_properties(row.properties):
            setattr(message, name, value)
    if row.headers is not None:
        message.headers = headers_from_json(row.headers)
    return message


def _properties_of(message: Message) -> tuple[str, str | None]:
    """The row's id, and what differs from a persistent, mandatory message of JSON, as a text of JSON."""
    properties: dict[str, Any] = {}
    row_id = message.message_id
    if not _is_canonical_uuid(row_id):
        properties["message_id"] = plain_text(row_id)
        row_id = str(uuid.uuid5(uuid.NAMESPACE_OID, row_id))
    if (message.content_type, message.content_encoding) != (JSON, _ENCODING):
        properties["content_type"] = message.content_type
        properties["content_encoding"] = message.content_encoding
    for name in _OPTIONAL:
        value = getattr(message, name)
        if value is not None:
            properties[name] = plain_text(value) if isinstance(value, str) else value
    if message.delivery_mode != 2:
        properties["delivery_mode"] = message.delivery_mode
    if not message.mandatory:
        properties["mandatory"] = False
    return row_id, json.dumps(properties, separators=(",", ":")) if properties else None


_PROPERTY_NAMES = frozenset(
    ("message_id", "content_type", "content_encoding", *_OPTIONAL, "delivery_mode", "mandatory")
)


@functools.lru_cache(maxsize=4096)
def _read_properties(text: str) -> Iterable[tuple[str, Any]]:
    properties = headers_from_json(text)
    unknown = set(properties) - _PROPERTY_NAMES
    if unknown:
        raise ValueError(f"the properties name {', '.join(sorted(unknown))}, which no message has")
    return tuple(properties.items())


def _is_canonical_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _check_nul(field_name: str, text: str) -> None:
    if "\0" in text:
        raise MessageError(f"{field_name} holds a NUL, which Postgres takes in no text", field=field_name)
