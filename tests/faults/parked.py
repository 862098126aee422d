"""Messages from a foreign client, and what a worker parked: read and written with pika's own BlockingConnection."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pika

from rmqpool import headers as names

__all__ = ["Foreign", "Parked", "parked_in", "publish_foreign", "remaining_in"]


@dataclass(frozen=True)
class Foreign:
    """A message as any client may send it; its message_id is its name."""

    name: str
    body: bytes
    content_type: str | None = None
    content_encoding: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Parked:
    """A message in a dead-letter queue."""

    name: str
    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: dict[str, Any]
    header_bytes: int

    @property
    def reason(self) -> str:
        """Why it is there."""
        return str(self.headers[names.REASON])


def publish_foreign(url: str, queue: str, messages: Iterable[Foreign]) -> None:
    """Publish with confirms; UnroutableError or NackError if the broker did not take one."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for message in messages:
            properties = pika.BasicProperties(
                message_id=message.name,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=message.headers or None,
                delivery_mode=2,
            )
            channel.basic_publish("", queue, message.body, properties, mandatory=True)


def parked_in(url: str, queue: str, count: int, timeout: float = 15.0) -> dict[str, Parked]:
    """Take ``count`` messages out of a queue by name, and make sure that there are no more; waits for them."""
    found: dict[str, Parked] = {}
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        deadline = time.monotonic() + timeout
        while len(found) < count and time.monotonic() < deadline:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                connection.process_data_events(0.05)
                continue
            assert properties.message_id not in found, f"{properties.message_id} was parked twice"
            found[properties.message_id] = Parked(
                properties.message_id,
                body,
                properties.content_type,
                properties.content_encoding,
                properties.headers or {},
                len(b"".join(properties.encode())),
            )
        assert len(found) == count, f"{len(found)} of {count} messages are parked: {sorted(found)}"
        assert channel.basic_get(queue, auto_ack=True)[0] is None, f"more than {count} messages are parked"
    return found


def remaining_in(url: str, queue: str) -> int:
    """How many messages are ready in a queue (it must have no unacknowledged ones: its consumers are gone)."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)
