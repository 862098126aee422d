"""A dead letter: what a delivery from a dead-letter queue says of itself, whether a worker or the broker put it there. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from rmqpool import headers as names
from rmqpool.compression import decompress
from rmqpool.errors import DecodeError
from rmqpool.message import Delivery

__all__ = ["CONDITION_NAMES", "DeadLetter", "plain"]

_LARGEST_JSON = 16 * 1024 * 1024  # bytes of a body that a condition looks into

CONDITION_NAMES: Final[Mapping[str, bool]] = {
    "age": False,
    "attempt": False,
    "body": True,
    "exception": False,
    "exchange": False,
    "header": True,
    "message_id": False,
    "queue": False,
    "reason": False,
    "routing_key": False,
    "type": False,
}
"""The names of a condition, and whether each has parts."""


@dataclass(frozen=True, slots=False, eq=False)
class DeadLetter:
    """One message of a dead-letter queue. ``position`` counts from 1, at the queue's head.

    What the worker wrote comes from its headers; for what the broker dead-lettered by itself, ``reason``, ``queue`` and
    ``parked_at`` come from ``x-death``, and the reason begins with ``broker:``.
    """

    delivery: Delivery
    position: int = 1

    @cached_property
    def headers(self) -> dict[str, Any]:
        """All headers as plain values, their names as text. Raises DecodeError if what was sent cannot be read."""
        return {_text(name) or "": value for name, value in self.delivery.headers.items()}

    @property
    def message_id(self) -> str:
        """The message's id, empty if it has none."""
        return _text(self.delivery.message_id) or ""

    @property
    def reason(self) -> str:
        """Why it is here: a word of :data:`rmqpool.headers.REASON`, ``broker:<RabbitMQ's reason>``, or empty."""
        told = self._header(names.REASON)
        death = _text(self._death.get("reason"))
        return told or (f"broker:{death}" if death else "")

    @property
    def queue(self) -> str:
        """The queue that it was consumed from, where a replay puts it; empty if nothing tells."""
        return self._header(names.ORIGINAL_QUEUE) or _text(self._death.get("queue")) or ""

    @property
    def exchange(self) -> str:
        """The exchange that it was first published to; empty is the default exchange."""
        if names.ORIGINAL_EXCHANGE in self.headers:
            return self._header(names.ORIGINAL_EXCHANGE)
        return _text(self._death.get("exchange")) or ""

    @property
    def routing_key(self) -> str:
        """The routing key that it was first published with."""
        if names.ORIGINAL_ROUTING_KEY in self.headers:
            return self._header(names.ORIGINAL_ROUTING_KEY)
        keys = self._death.get("routing-keys")
        return (_text(keys[0]) or "") if isinstance(keys, list) and keys else self.delivery.routing_key

    @property
    def attempt(self) -> int:
        """The attempt that failed last, 0 if nothing tells."""
        value = self.headers.get(names.ATTEMPT)
        return value if type(value) is int else 0

    @property
    def exception(self) -> str:
        """The exception's class and message, empty if there was none."""
        kind, message = self._header(names.EXCEPTION_TYPE), self._header(names.EXCEPTION_MESSAGE)
        return f"{kind}: {message}" if kind and message else kind or message

    @property
    def traceback(self) -> str:
        """The exception's traceback, empty if there was none."""
        return self._header(names.EXCEPTION_TRACEBACK)

    @property
    def worker(self) -> str:
        """Who parked it: host, process, worker."""
        return self._header(names.WORKER)

    @property
    def parked_at(self) -> datetime | None:
        """When it was parked, aware; None if nothing tells."""
        try:
            found: Any = datetime.fromisoformat(self._header(names.PARKED_AT))
        except ValueError:
            found = self._death.get("time")
        if not isinstance(found, datetime):
            return None
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    @cached_property
    def decoded(self) -> bytes:
        """The body, decompressed if it was compressed and can be."""
        try:
            if self.delivery.content_encoding in ("gzip", "deflate", "x-gzip", "zlib"):
                return decompress(self.delivery.body, _LARGEST_JSON)
        except DecodeError:
            pass
        return self.delivery.body

    @cached_property
    def content(self) -> Any:
        """The body as plain values if it is JSON, otherwise as text; None if it is neither."""
        body = self.decoded
        if len(body) > _LARGEST_JSON:
            return None
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def age(self, now: datetime) -> float | None:
        """Seconds since it was parked, at ``now`` (aware)."""
        return None if self.parked_at is None else (now - self.parked_at).total_seconds()

    def value(self, name: str, now: datetime) -> Any:
        """The value of one of :data:`CONDITION_NAMES`."""
        if name == "body":
            return self.content
        if name == "header":
            return plain(self.headers)
        if name == "age":
            return self.age(now)
        if name == "type":
            return _text(self.delivery.type)
        return getattr(self, name) if name in CONDITION_NAMES else None

    @property
    def key(self) -> tuple[str, str] | None:
        """What tells this parking of this message from others; None if it has no id."""
        return (self.message_id, str(self.parked_at)) if self.message_id else None

    def _header(self, name: str) -> str:
        return _text(self.headers.get(name)) or ""

    @cached_property
    def _death(self) -> Mapping[str, Any]:
        """RabbitMQ's newest entry of x-death (https://www.rabbitmq.com/docs/dlx#effects)."""
        deaths = self.headers.get("x-death")
        first = deaths[0] if isinstance(deaths, list) and deaths else None
        return first if isinstance(first, Mapping) else {}


def plain(value: Any) -> Any:
    """A header's value as JSON has values: times and decimals as text and number, bytes as text."""
    if isinstance(value, Mapping):
        return {_text(name) or "": plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    return value


def _text(value: object) -> str | None:
    """pika hands over bytes where a foreign client wrote no UTF-8."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None
