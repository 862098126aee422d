"""Out and back, a message is what it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool import headers as names
from rmqpool.errors import MessageError
from rmqpool.message import Delivery, Message
from rmqpool.planning.hops import message_back, message_out

QUEUE, EXCHANGE = "orders", "orders.migration"
KEPT = ("body", "message_id", "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id")
KEPT += ("reply_to", "expiration", "timestamp", "type", "app_id")
TEXTS = st.none() | st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20)


def delivered(message: Message, exchange: str, queue: str) -> Delivery:
    """The message as it comes from a queue."""
    fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(Message)}
    del fields["mandatory"]
    fields.update(exchange=exchange, headers=message.headers or {})
    return Delivery(**fields, queue=queue, delivery_tag=1, redelivered=False)


def moved(delivery: Delivery, user: str = "mover") -> tuple[Message, Message]:
    """Both copies."""
    out = message_out(delivery, EXCHANGE, user)
    return out, message_back(delivered(out, EXCHANGE, EXCHANGE), EXCHANGE, QUEUE, user)


def delivery(**values: Any) -> Delivery:
    """One of the queue's, published by name unless told otherwise."""
    given_values = {"body": b"x", "exchange": "", "routing_key": QUEUE, "message_id": "1", **values}
    return Delivery(**given_values, delivery_tag=1, redelivered=False, queue=QUEUE)


@given(
    st.builds(
        delivery,
        body=st.binary(max_size=5),
        exchange=st.sampled_from(["", "events"]),
        routing_key=st.sampled_from([QUEUE, "order.new"]),
        expiration=st.none() | st.just("5000"),
        priority=st.none() | st.integers(0, 9),
        type=TEXTS,
        reply_to=TEXTS,
        content_type=TEXTS,
        delivery_mode=st.sampled_from([1, 2]),
        timestamp=st.none() | st.integers(0, 2**40),
        headers=st.fixed_dictionaries(
            {}, optional={**dict.fromkeys(["a", "x-death", names.MOVED_EXCHANGE], st.just("b")), "CC": st.just(["b"])}
        ),
    )
)
def test_nothing_of_a_message_is_lost_on_the_way(one: Delivery) -> None:
    """Body, properties, routing key and its own headers are the same; the broker's history is gone."""
    out, back = moved(one)
    assert out.expiration is None
    assert [getattr(back, name) for name in KEPT] == [getattr(one, name) for name in KEPT]
    assert back.routing_key == one.routing_key
    own = {name: value for name, value in one.headers.items() if name != "x-death"}
    added = set(back.headers or {}) - set(own)
    assert {name: (back.headers or {})[name] for name in own} == own
    assert added <= {names.MOVED_EXCHANGE}
    assert back.exchange in ("", EXCHANGE)
    assert out.mandatory
    assert back.mandatory


def test_a_message_published_by_name_comes_back_by_name() -> None:
    """Its exchange and routing key are what they were."""
    assert (moved(delivery())[1].exchange, moved(delivery())[1].headers) == ("", {})


def test_a_message_of_an_exchange_keeps_its_routing_key_and_tells_its_exchange() -> None:
    """The broker does not let anybody say another exchange; a header does."""
    _, back = moved(delivery(exchange="events", routing_key="order.new"))
    assert (back.exchange, back.routing_key) == (EXCHANGE, "order.new")
    assert back.headers == {names.MOVED_EXCHANGE: "events"}


def test_a_message_that_came_to_the_temporary_queue_itself_tells_its_exchange_too() -> None:
    """Publishers go on while the migration runs."""
    fresh = Delivery(b"x", "events", "order.new", 1, False, queue=EXCHANGE, message_id="1", expiration="7")
    back = message_back(fresh, EXCHANGE, QUEUE, "mover")
    assert (back.exchange, back.headers, back.expiration) == (EXCHANGE, {names.MOVED_EXCHANGE: "events"}, "7")


def test_copies_go_to_nobody_else() -> None:
    """With CC, publishing by name would send it to those queues again."""
    _, back = moved(delivery(headers={"CC": ["other"]}))
    assert (back.exchange, back.headers) == (EXCHANGE, {"CC": ["other"]})


@pytest.mark.parametrize(("user", "kept"), [("mover", "mover"), ("somebody", None)])
def test_another_users_name_is_kept_in_a_header(user: str, kept: str | None) -> None:
    """The broker refuses a user_id that is not the connection's."""
    _, back = moved(delivery(user_id=user))
    assert back.user_id == kept
    assert (back.headers or {}).get(names.MOVED_USER_ID) == (None if kept else user)


def test_a_message_without_an_id_gets_one() -> None:
    """Otherwise nobody could say which message the broker returned."""
    assert moved(delivery(message_id=None))[0].message_id


@pytest.mark.parametrize(
    "values",
    [
        {"message_id": b"\xff1"},
        {"correlation_id": b"\xff"},
        {"type": b"caf\xe9"},
        {"expiration": b"\xff"},
        {"headers": {b"caf\xe9": 1}},
    ],
)
def test_what_cannot_be_written_as_it_was_is_refused(values: dict[str, Any]) -> None:
    """A migration changes no message: what is no UTF-8 (pika hands over bytes) stays, and is told."""
    with pytest.raises(MessageError):
        message_out(delivery(**values), EXCHANGE, "mover")
