"""From what pika hands over to a :class:`Delivery`."""

from __future__ import annotations

from typing import Any

from pika.compat import long

from rmqpool.message import Delivery, Settler

__all__ = ["delivery_from"]


def delivery_from(
    method: Any,
    properties: Any,
    body: bytes,
    *,
    queue: str,
    epoch: int,
    channel_serial: int,
    settler: Settler | None,
) -> Delivery:
    """A delivery of basic.deliver or basic.get-ok, keyed by connection epoch, channel and delivery tag."""
    return Delivery(
        body=body,
        exchange=method.exchange,
        routing_key=method.routing_key,
        delivery_tag=method.delivery_tag,
        redelivered=bool(method.redelivered),
        queue=queue,
        consumer_tag=getattr(method, "consumer_tag", ""),
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers=_plain(properties.headers) if properties.headers else {},
        delivery_mode=properties.delivery_mode,
        priority=properties.priority,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        expiration=properties.expiration,
        message_id=properties.message_id,
        timestamp=properties.timestamp,
        type=properties.type,
        user_id=properties.user_id,
        app_id=properties.app_id,
        epoch=epoch,
        channel_serial=channel_serial,
        settler=settler,
    )


def _plain(value: Any) -> Any:
    """Header values without pika's ``long``, an int that shows itself as ``1L``."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, long) else value
