"""The names of the headers that rmqpool writes. Settled for good: messages with them lie in queues for years.

Every header of ours starts with ``x-rmqpool-``, so that none collides with RabbitMQ's own (``x-death``,
``x-delivery-count``) or with the application's. RabbitMQ's ``x-death`` is not used for counting: copying it while
re-publishing makes old brokers drop the message as a cycle, and it is stripped. All are optional on receipt: a message
that another client sent has none of them.

What belongs together: *attempt*, *first failure* travel with every retry; *reason*, *exception*, *worker*, *parked at*
are written when a message is parked in ``<queue>.dead``; *origin* tells a replay where the message came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "ALL",
    "ATTEMPT",
    "DELAY_LEFT",
    "EXCEPTION_MESSAGE",
    "EXCEPTION_TRACEBACK",
    "EXCEPTION_TYPE",
    "FIRST_FAILURE_AT",
    "MOVED_EXCHANGE",
    "MOVED_EXPIRATION",
    "MOVED_USER_ID",
    "ORIGINAL_CC",
    "ORIGINAL_EXCHANGE",
    "ORIGINAL_EXPIRATION",
    "ORIGINAL_QUEUE",
    "ORIGINAL_ROUTING_KEY",
    "ORIGINAL_USER_ID",
    "PARKED_AT",
    "PREFIX",
    "REASON",
    "REPLY_ERROR",
    "STRIPPED",
    "WORKER",
    "without_broker_history",
]

PREFIX: Final = "x-rmqpool-"

ATTEMPT: Final = "x-rmqpool-attempt"
"""int, 1 for the first: which attempt this delivery is. Written on each retry with a delay."""

DELAY_LEFT: Final = "x-rmqpool-delay-left"
"""int, milliseconds: what is left of the message's delay when it comes back from a retry queue."""

FIRST_FAILURE_AT: Final = "x-rmqpool-first-failure-at"
"""str, ISO 8601 in UTC: when the first attempt failed. A retry policy limits the whole duration by it."""

REASON: Final = "x-rmqpool-reason"
"""str: why it was parked. A short stable word, and for some a detail after a colon: ``exception``, ``decode:validation``
(or another reason of DecodeError), ``rejected:<the handler's own words>``. More words may come; these stay."""

EXCEPTION_TYPE: Final = "x-rmqpool-exception-type"
"""str: the full name of the exception's class."""

EXCEPTION_MESSAGE: Final = "x-rmqpool-exception-message"
"""str: the exception's message, shortened so that all headers fit into one frame."""

EXCEPTION_TRACEBACK: Final = "x-rmqpool-exception-traceback"
"""str: the traceback, shortened in its middle so that all headers fit into one frame."""

ORIGINAL_EXCHANGE: Final = "x-rmqpool-original-exchange"
"""str: the exchange that the message was first published to; empty is the default exchange."""

ORIGINAL_ROUTING_KEY: Final = "x-rmqpool-original-routing-key"
"""str: the routing key that it was first published with."""

ORIGINAL_QUEUE: Final = "x-rmqpool-original-queue"
"""str: the queue that it was consumed from: where a replay puts it."""

ORIGINAL_EXPIRATION: Final = "x-rmqpool-original-expiration"
"""str, milliseconds: the message's own expiration, taken off so that it does not expire while it is parked."""

ORIGINAL_USER_ID: Final = "x-rmqpool-original-user-id"
"""str: the message's own user_id, taken off because the broker takes no other user's than the connection's (406)."""

ORIGINAL_CC: Final = "x-rmqpool-original-cc"
"""list of str: the message's own ``CC`` header, taken off so that parking does not send it to those queues again."""

WORKER: Final = "x-rmqpool-worker"
"""str, ``host:process id:worker name``: who parked it."""

PARKED_AT: Final = "x-rmqpool-parked-at"
"""str, ISO 8601 in UTC: when it was parked."""

MOVED_EXCHANGE: Final = "x-rmqpool-moved-exchange"
"""str: the exchange of a message that ``rmqpool topology migrate`` moved, where it is not the one it carries now."""

MOVED_EXPIRATION: Final = "x-rmqpool-moved-expiration"
"""str, milliseconds: the expiration of a message that waits in a migration's temporary queue; put back on the way back."""

MOVED_USER_ID: Final = "x-rmqpool-moved-user-id"
"""str: the user_id of a message that was moved by another user, whom the broker does not let say so (406)."""
REPLY_ERROR: Final = "x-rmqpool-reply-error"
"""str: on a reply that says that the request was not handled well; the words of REASON. Exception type and message follow."""

ALL: Final = frozenset(
    {
        ATTEMPT,
        DELAY_LEFT,
        FIRST_FAILURE_AT,
        REASON,
        EXCEPTION_TYPE,
        EXCEPTION_MESSAGE,
        EXCEPTION_TRACEBACK,
        ORIGINAL_EXCHANGE,
        ORIGINAL_ROUTING_KEY,
        ORIGINAL_QUEUE,
        ORIGINAL_EXPIRATION,
        ORIGINAL_USER_ID,
        ORIGINAL_CC,
        WORKER,
        PARKED_AT,
        MOVED_EXCHANGE,
        MOVED_EXPIRATION,
        MOVED_USER_ID,
        REPLY_ERROR,
    }
)

STRIPPED: Final = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
"""The broker's own history: names, and beginnings of names that end in ``-``, never copied when re-publishing."""


def without_broker_history(headers: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the headers that is safe to publish again: without x-death and the broker's counters."""
    return {name: value for name, value in headers.items() if not _is_broker_history(name)}


def _is_broker_history(name: object) -> bool:
    if not isinstance(name, str):  # pika hands over bytes where a foreign client wrote no UTF-8
        return False
    return any(name.startswith(entry) if entry.endswith("-") else name == entry for entry in STRIPPED)
