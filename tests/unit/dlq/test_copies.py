"""What a replay sends: the message that failed, and nothing that parking or the broker wrote on it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rmqpool import headers as names
from rmqpool.dlq import DeadLetter, replayed_message, restored_message
from rmqpool.errors import MessageError
from rmqpool.message import Delivery, Message
from rmqpool.worker.failure import Failure
from rmqpool.worker.parked import parked_message

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DEATH = {"reason": "delivery_limit", "queue": "orders", "time": NOW, "exchange": "shop", "routing-keys": ["order.new"]}


def delivery_of(message: Message) -> Delivery:
    """The message as a consumer of the dead-letter queue gets it."""
    return Delivery(
        message.body,
        message.exchange,
        message.routing_key,
        1,
        False,
        headers=message.headers or {},
        message_id=message.message_id,
        content_type=message.content_type,
        expiration=message.expiration,
        user_id=message.user_id,
    )


def parked(user: str = "shop", **properties: Any) -> DeadLetter:
    """A message of the queue orders that was parked."""
    given: dict[str, Any] = {"headers": {"tenant": "a"}, "message_id": "m1", **properties}
    delivery = Delivery(b"{}", "shop", "order.new", 1, False, queue="orders", **given)
    failure = Failure("exception", "KeyError", "'x'", "Traceback")
    return DeadLetter(
        delivery_of(
            parked_message(delivery, failure, "orders.dead", worker="h:1:w", user=user, frame_max=131072, now=NOW)
        )
    )


def test_a_parked_message_tells_all_that_was_written() -> None:
    """Reason, exception, queue, time, attempt."""
    letter = parked()
    assert (letter.reason, letter.exception, letter.queue) == ("exception", "KeyError: 'x'", "orders")
    assert (letter.exchange, letter.routing_key, letter.attempt) == ("shop", "order.new", 1)
    assert (letter.parked_at, letter.age(NOW), letter.key) == (NOW, 0.0, ("m1", str(NOW)))


def test_what_the_broker_dead_lettered_tells_it_too() -> None:
    """From x-death, with a reason that says whose it is."""
    letter = DeadLetter(Delivery(b"", "", "orders.dead", 1, False, headers={"x-death": [DEATH]}))
    assert (letter.reason, letter.queue, letter.parked_at) == ("broker:delivery_limit", "orders", NOW)
    assert (letter.exchange, letter.routing_key, letter.attempt, letter.key) == ("shop", "order.new", 0, None)


def test_a_message_without_any_history_is_no_error() -> None:
    """Somebody published it there by hand."""
    letter = DeadLetter(Delivery(b"", "", "orders.dead", 1, False))
    assert (letter.reason, letter.queue, letter.parked_at, letter.age(NOW)) == ("", "", None, None)


def test_the_replayed_message_is_the_one_that_failed() -> None:
    """Same id, own headers, expiration and user; where it was first published to stays for the next parking."""
    message = replayed_message(parked(expiration="60000", user_id="shop"), "orders", "shop")
    assert (message.exchange, message.routing_key, message.message_id) == ("", "orders", "m1")
    assert (message.expiration, message.user_id, message.delivery_mode) == ("60000", "shop", 2)
    assert message.headers == {
        "tenant": "a",
        names.ORIGINAL_EXCHANGE: "shop",
        names.ORIGINAL_ROUTING_KEY: "order.new",
    }


def test_what_the_broker_would_refuse_or_multiply_is_not_restored() -> None:
    """A foreign user_id would be refused; the queues of CC had their copies. Both are kept in headers of ours."""
    message = replayed_message(parked(user_id="other", headers={"CC": ["audit"]}), "orders", "shop")
    assert message.user_id is None
    assert message.headers is not None
    assert (message.headers[names.ORIGINAL_USER_ID], message.headers[names.ORIGINAL_CC]) == ("other", ["audit"])
    assert "CC" not in message.headers


def test_the_brokers_history_is_never_sent_again() -> None:
    """Old brokers would drop the message as a cycle."""
    headers = {"x-death": [DEATH], "x-first-death-queue": "orders", "x-delivery-count": 3, "mine": 1}
    message = replayed_message(DeadLetter(Delivery(b"", "", "q", 1, False, headers=headers)), "orders", "shop")
    assert message.headers == {"mine": 1}
    assert message.message_id


def test_what_cannot_be_written_as_it_was_is_refused() -> None:
    """It stays, instead of being changed."""
    bad: Any = b"\xff"
    with pytest.raises(MessageError, match="content_type"):
        replayed_message(DeadLetter(Delivery(b"", "", "q", 1, False, content_type=bad)), "orders", "shop")


@pytest.mark.parametrize("user_id", ["shop", "other", None])
def test_a_restored_message_tells_the_same_as_before(user_id: str | None) -> None:
    """Exported and imported, a replay of it sends the same message."""
    letter = parked(expiration="60000", user_id=user_id, headers={"CC": ["audit"], "tenant": "a"})
    restored = DeadLetter(delivery_of(restored_message(letter, "orders.dead", "shop")))
    assert restored.delivery.expiration is None
    assert (restored.reason, restored.queue, restored.parked_at) == (letter.reason, letter.queue, letter.parked_at)
    assert (restored.attempt, restored.exception, restored.traceback) == (1, letter.exception, "Traceback")
    before, after = (replayed_message(one, "orders", "shop") for one in (letter, restored))
    assert (before.headers, before.expiration, before.user_id) == (after.headers, after.expiration, after.user_id)


def test_a_restored_message_keeps_what_the_broker_told() -> None:
    """Queue, reason and time go from x-death, which cannot be sent, into headers of ours."""
    letter = DeadLetter(Delivery(b"", "", "q", 1, False, headers={"x-death": [DEATH]}, message_id="m1"))
    restored = DeadLetter(delivery_of(restored_message(letter, "orders.dead", "shop")))
    assert (restored.reason, restored.queue, restored.parked_at) == ("broker:delivery_limit", "orders", NOW)
    assert (restored.exchange, restored.routing_key) == ("shop", "order.new")
