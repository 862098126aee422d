"""The two copies of a message on a migration's way: out into the temporary queue, and back. Pure.

Both go through the migration's fanout exchange, so that the routing key stays what it was. A message that was published
to the queue by name comes back by name. What would let the copy expire, or be refused, is kept in a header meanwhile.
What cannot be written as it was (a property that is no UTF-8) is refused, and stays where it is: MessageError.
"""

from __future__ import annotations

from dataclasses import replace

from rmqpool import headers as names
from rmqpool.copies import faithful_copy, text_of
from rmqpool.message import Delivery, Message

__all__ = ["message_back", "message_out"]


def message_out(delivery: Delivery, exchange: str, user: str) -> Message:
    """The copy for the temporary queue; it does not expire there. ``user`` is that of our connection."""
    message = _copy(delivery, exchange, user)
    if delivery.expiration is not None:
        message.headers = {**(message.headers or {}), names.MOVED_EXPIRATION: delivery.expiration}
    return replace(message, expiration=None)


def message_back(delivery: Delivery, exchange: str, queue: str, user: str) -> Message:
    """The copy for the new queue, from the temporary one, with the message's own expiration again."""
    message = _copy(delivery, exchange, user)
    headers = dict(message.headers or {})
    expiration = headers.pop(names.MOVED_EXPIRATION, delivery.expiration)
    by_name = (
        delivery.exchange == exchange
        and delivery.routing_key == queue
        and names.MOVED_EXCHANGE not in headers
        and "CC" not in headers  # would go to those queues again
    )
    return replace(message, exchange="" if by_name else exchange, headers=headers, expiration=expiration)


def _copy(delivery: Delivery, exchange: str, user: str) -> Message:
    headers = names.without_broker_history(delivery.headers)
    by_default = delivery.exchange == "" and delivery.routing_key == delivery.queue
    if not by_default and delivery.exchange != exchange:
        headers.setdefault(names.MOVED_EXCHANGE, delivery.exchange)
    if delivery.user_id and delivery.user_id != user:
        headers[names.MOVED_USER_ID] = delivery.user_id
    return faithful_copy(
        delivery,
        exchange,
        delivery.routing_key,
        headers,
        user_id=user if delivery.user_id == user else None,
        expiration=text_of("expiration", delivery.expiration),
        delivery_mode=delivery.delivery_mode or 2,
    )
