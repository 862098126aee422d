"""How a message ended, in one word: for logs, metrics and traces. The words stay; more may come."""

from __future__ import annotations

import asyncio
from typing import Final

from rmqpool.errors import DecodeError, PublishError
from rmqpool.message import Confirmation, Delivery, Message
from rmqpool.worker.verdicts import Postpone, Reject, Retry, Skip

__all__ = ["HANDLED", "class_of", "destination_of", "end_of", "id_of", "outcome_of"]

HANDLED: Final = "handled"
_ENDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (Retry, "retried"),
    (Reject, "rejected"),
    (Skip, "skipped"),
    (Postpone, "postponed"),
    (DecodeError, "undecodable"),
    (asyncio.CancelledError, "cancelled"),
)


def end_of(error: BaseException) -> str:
    """``failed``, or the verdict: ``retried``, ``rejected``, ``skipped``, ``postponed``; ``undecodable``, ``cancelled``."""
    kind = type(error)
    return next((word for end, word in _ENDS if issubclass(kind, end)), "failed")


def outcome_of(outcome: Confirmation | PublishError) -> str:
    """One of the five: ``confirmed``, ``returned``, ``nacked``, ``not_sent``, ``unknown``."""
    return str(outcome.outcome)


def class_of(error: BaseException) -> str:
    """The full name of an exception's class. Its text is left out: it may hold anything of the message."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def id_of(delivery: Delivery) -> str | None:
    """Its message_id; None if it has none, or its properties cannot be read: whoever handles it hears of that."""
    try:
        return delivery.message_id
    except DecodeError:
        return None


def destination_of(message: Message | Delivery) -> str:
    """Where a message was published to, of few different values: an exchange, or a queue of the default exchange.

    Names that brokers make (``amq.gen-…``, ``amq.rabbitmq.reply-to.…``) count as one: each would be a series of its own.
    """
    name = message.exchange or message.routing_key
    return "amq.*" if not message.exchange and name.startswith("amq.") else name
