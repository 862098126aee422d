"""The message that a replay sends: the one that failed, without what parking and the broker wrote on it. Pure."""

from __future__ import annotations

from rmqpool import headers as names
from rmqpool.copies import faithful_copy, set_cc_aside
from rmqpool.dlq.letter import DeadLetter
from rmqpool.header_checks import check_headers
from rmqpool.message import Message
from rmqpool.preparation import check_expiration

__all__ = ["replayed_message", "restored_message"]

_OF_THE_PARKING = frozenset(
    {
        names.ATTEMPT,
        names.FIRST_FAILURE_AT,
        names.REASON,
        names.EXCEPTION_TYPE,
        names.EXCEPTION_MESSAGE,
        names.EXCEPTION_TRACEBACK,
        names.ORIGINAL_QUEUE,
        names.ORIGINAL_EXPIRATION,
        names.WORKER,
        names.PARKED_AT,
    }
)
"""Where it was first published to, and the CC that it had, stay: a second parking keeps them, and handlers may ask."""


def replayed_message(letter: DeadLetter, queue: str, user: str) -> Message:
    """The message for ``queue``, by the default exchange. ``user`` is the user of our connection.

    The expiration counts anew. A user_id is restored if it is our own: the broker takes no other. CC is not: the
    other queues had their copies. A message without an id gets one. Raises MessageError if it cannot be sent as it is.
    """
    delivery = letter.delivery
    headers = {
        name: value
        for name, value in names.without_broker_history(letter.headers).items()
        if name not in _OF_THE_PARKING
    }
    if headers.get(names.ORIGINAL_USER_ID) == user or delivery.user_id == user:
        headers.pop(names.ORIGINAL_USER_ID, None)
        user_id: str | None = user
    else:
        user_id = None
    set_cc_aside(headers)  # a message that the broker dead-lettered still has them
    expiration = letter.headers.get(names.ORIGINAL_EXPIRATION) or delivery.expiration
    return faithful_copy(
        delivery,
        "",
        queue,
        headers,
        user_id=user_id,
        expiration=None if expiration is None else check_expiration(expiration),
    )


def restored_message(letter: DeadLetter, queue: str, user: str) -> Message:
    """The message for the dead-letter queue ``queue``: as it was exported, parked. Raises MessageError.

    What the broker wrote cannot be sent again: the queue, reason and time in it are written into headers of ours.
    """
    message = replayed_message(letter, queue, user)
    headers = dict(message.headers or {})
    kept = {name: value for name, value in letter.headers.items() if name in _OF_THE_PARKING}
    told = {
        names.REASON: letter.reason,
        names.ORIGINAL_QUEUE: letter.queue,
        names.ORIGINAL_EXCHANGE: letter.exchange,
        names.ORIGINAL_ROUTING_KEY: letter.routing_key,
        names.PARKED_AT: letter.parked_at.isoformat(timespec="milliseconds") if letter.parked_at else "",
        names.ORIGINAL_EXPIRATION: message.expiration or "",
    }
    if letter.queue:
        headers.update({name: value for name, value in told.items() if value or name == names.ORIGINAL_EXCHANGE})
    if letter.delivery.user_id and letter.delivery.user_id != user:
        headers[names.ORIGINAL_USER_ID] = letter.delivery.user_id
    message.headers = check_headers({**headers, **kept}) or None
    message.expiration = None
    return message
