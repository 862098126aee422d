"""The copy that a shovel sends: body, properties, headers and message_id are kept. Pure."""

from __future__ import annotations

from rmqpool import headers as names
from rmqpool.copies import faithful_copy, set_cc_aside, text_of
from rmqpool.message import Delivery, Message

__all__ = ["copy_of"]


def copy_of(delivery: Delivery, exchange: str, routing_key: str, user: str) -> Message:
    """The message for ``exchange`` and ``routing_key``. ``user`` is the user of our connection there.

    The broker's own history (x-death, counters) is left out. A user_id that is not ours, which the broker would refuse,
    and CC, which would send it to those queues once more, go into headers of ours. A message without an id gets one.
    Raises MessageError for what cannot be written as it was, DecodeError for what cannot be read.
    """
    headers = names.without_broker_history(delivery.headers)
    set_cc_aside(headers)
    if delivery.user_id and delivery.user_id != user:
        headers.setdefault(names.ORIGINAL_USER_ID, delivery.user_id)
    return faithful_copy(
        delivery,
        exchange,
        routing_key,
        headers,
        user_id=user if delivery.user_id == user else None,
        expiration=text_of("expiration", delivery.expiration),
        delivery_mode=delivery.delivery_mode or 2,
    )
