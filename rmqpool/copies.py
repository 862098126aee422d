"""What a message that is sent again keeps of its delivery, to the letter. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rmqpool import headers as names
from rmqpool.errors import MessageError
from rmqpool.header_checks import check_headers
from rmqpool.identifiers import new_message_id
from rmqpool.message import Delivery, Message

__all__ = ["faithful_copy", "set_cc_aside", "text_of"]


def faithful_copy(
    delivery: Delivery,
    exchange: str,
    routing_key: str,
    headers: Mapping[str, Any],
    *,
    user_id: str | None,
    expiration: str | None,
    delivery_mode: int = 2,
) -> Message:
    """The message for ``exchange`` and ``routing_key``: body and properties as they were, but for those that are given.

    A message without an id gets one. Raises MessageError for what cannot be written as it was, DecodeError for what
    cannot be read.
    """
    return Message(
        exchange,
        routing_key,
        delivery.body,
        text_of("message_id", delivery.message_id) or new_message_id(),
        content_type=text_of("content_type", delivery.content_type),
        content_encoding=text_of("content_encoding", delivery.content_encoding),
        headers=check_headers(headers) or None,
        delivery_mode=delivery_mode,
        priority=delivery.priority,
        correlation_id=text_of("correlation_id", delivery.correlation_id),
        reply_to=text_of("reply_to", delivery.reply_to),
        expiration=expiration,
        timestamp=delivery.timestamp,
        type=text_of("type", delivery.type),
        user_id=user_id,
        app_id=text_of("app_id", delivery.app_id),
    )


def set_cc_aside(headers: dict[str, Any]) -> None:
    """CC and BCC would send it to those queues once more: they go into a header of ours, in place."""
    for name in ("CC", "BCC"):
        if name in headers:
            headers[names.ORIGINAL_CC] = headers.pop(name)


def text_of(field: str, value: Any) -> str | None:
    """A property as it is, if it is text. Raises MessageError: pika hands over bytes where a client wrote no UTF-8."""
    if value is None or isinstance(value, str):
        return value
    raise MessageError(f"its {field} is no UTF-8, and cannot be written as it was", field=field)
