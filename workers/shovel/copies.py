"""The copy that a shovel sends: body, properties, headers and message_id are kept. Pure."""

from __future__ import annotations

from typing import Any

from rmqpool import headers as names
from rmqpool.errors import MessageError
from rmqpool.header_checks import check_headers
from rmqpool.identifiers import new_message_id
from rmqpool.message import Delivery, Message

__all__ = ["copy_of"]


def copy_of(delivery: Delivery, exchange: str, routing_key: str, user: str) -> Message:
    """The message for ``exchange`` and ``routing_key``. ``user`` is the user of our connection there.

    The broker's own history (x-death, counters) is left out. A user_id that is not ours, which the broker would refuse,
    and CC, which would send it to those queues once more, go into headers of ours. A message without an id gets one.
    Raises MessageError for what cannot be written as it was, DecodeError for what cannot be read.
    """
    headers = names.without_broker_history(delivery.headers)
    for name in ("CC", "BCC"):
        if name in headers:
            headers[names.ORIGINAL_CC] = headers.pop(name)
    if delivery.user_id and delivery.user_id != user:
        headers.setdefault(names.ORIGINAL_USER_ID, delivery.user_id)
    return Message(
        exchange,
        routing_key,
        delivery.body,
        _text("message_id", delivery.message_id) or new_message_id(),
        content_type=_text("content_type", delivery.content_type),
        content_encoding=_text("content_encoding", delivery.content_encoding),
        headers=check_headers(headers) or None,
        delivery_mode=delivery.delivery_mode or 2,
        priority=delivery.priority,
        correlation_id=_text("correlation_id", delivery.correlation_id),
        reply_to=_text("reply_to", delivery.reply_to),
        expiration=_text("expiration", delivery.expiration),
        timestamp=delivery.timestamp,
        type=_text("type", delivery.type),
        user_id=user if delivery.user_id == user else None,
        app_id=_text("app_id", delivery.app_id),
    )


def _text(field: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise MessageError(f"its {field} is no UTF-8, and cannot be written as it was", field=field)
