"""The shovel's decisions: the copy that it sends, and settings that are sentences."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool import Delivery, parse_url
from rmqpool.errors import ConfigurationError, MessageError
from workers.environment import read_settings
from workers.shovel.app import refuse_a_circle
from workers.shovel.copies import copy_of
from workers.shovel.settings import PREFIX, ShovelSettings

TEXTS = ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "type", "app_id")


@given(
    body=st.binary(max_size=100),
    texts=st.fixed_dictionaries({}, optional={name: st.text("aß漢", min_size=1, max_size=20) for name in TEXTS}),
    numbers=st.fixed_dictionaries(
        {}, optional={"priority": st.integers(0, 255), "timestamp": st.integers(0, 2**33), "delivery_mode": st.just(1)}
    ),
    headers=st.dictionaries(
        st.text("abc-", max_size=5), st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab")
    ),
)
def test_a_copy_keeps_all_that_the_message_says(
    body: bytes, texts: dict[str, str], numbers: dict[str, int], headers: dict[str, Any]
) -> None:
    """Body, properties, headers and id; what it did not have it does not get, the id excepted."""
    options: dict[str, Any] = {**texts, **numbers}
    delivery = Delivery(body, "there", "key", 1, False, headers=headers, **options)
    copy = copy_of(delivery, "events", "other", "me")
    assert (copy.exchange, copy.routing_key, copy.body, copy.mandatory) == ("events", "other", body, True)
    assert dict(copy.headers or {}) == headers
    for name in (*TEXTS, "priority", "timestamp"):
        if name != "message_id":
            assert getattr(copy, name) == options.get(name)
    assert copy.message_id == texts.get("message_id", copy.message_id)
    assert copy.message_id
    assert copy.delivery_mode == numbers.get("delivery_mode", 2)


def test_a_copy_leaves_the_brokers_history_behind() -> None:
    """x-death would make old brokers drop it as a cycle; CC would send it to those queues once more."""
    headers = {"x-death": [{"count": 1}], "x-delivery-count": 3, "x-first-death-queue": "q", "CC": ["a"], "mine": 1}
    copy = copy_of(Delivery(b"", "", "q", 1, False, headers=headers, expiration="5000"), "", "q", "me")
    assert copy.headers == {"mine": 1, "x-rmqpool-original-cc": ["a"]}
    assert copy.expiration == "5000"


def test_a_user_id_stays_if_it_is_our_own() -> None:
    """The broker takes no other; who it was is kept in a header."""
    ours = copy_of(Delivery(b"", "", "q", 1, False, user_id="me"), "", "q", "me")
    theirs = copy_of(Delivery(b"", "", "q", 1, False, user_id="you"), "", "q", "me")
    assert (ours.user_id, ours.headers) == ("me", None)
    assert (theirs.user_id, theirs.headers) == (None, {"x-rmqpool-original-user-id": "you"})


def test_what_cannot_be_written_as_it_was_is_refused() -> None:
    """A foreign client may have sent bytes that are no UTF-8: not changed silently."""
    broken: Any = b"\xff"
    with pytest.raises(MessageError, match="its type is no UTF-8"):
        copy_of(Delivery(b"", "", "q", 1, False, type=broken), "", "q", "me")


def settings(**more: str) -> ShovelSettings:
    """As of an environment with these variables."""
    given = {"from_queue": "orders", "to_url": "amqp://me:hunter2@there/shop", **more}
    return read_settings(ShovelSettings, PREFIX, {f"{PREFIX}{name.upper()}": text for name, text in given.items()})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"from_queue": "", "to_queue": "a"},
            "SHOVEL_FROM_QUEUE is not set: set it to the queue whose messages are to be",
        ),
        ({"to_url": "", "to_queue": "a"}, "SHOVEL_TO_URL is not set: set it to where they go: the amqp:// URL"),
        ({"to_url": "http://hunter2@there/", "to_queue": "a"}, "SHOVEL_TO_URL: the URL must start with amqp"),
        ({}, "set either SHOVEL_TO_QUEUE or SHOVEL_TO_EXCHANGE"),
        ({"to_queue": "a", "to_exchange": "b"}, "set either SHOVEL_TO_QUEUE or SHOVEL_TO_EXCHANGE"),
        ({"to_queue": "a", "to_routing_key": "b"}, "SHOVEL_TO_ROUTING_KEY goes with SHOVEL_TO_EXCHANGE"),
        ({"to_queue": "a", "rate": "0"}, "SHOVEL_RATE is '0': Input should be greater than 0"),
        ({"to_queue": "a", "window": "1001"}, "SHOVEL_WINDOW is '1001': Input should be less than or equal to 1000"),
    ],
)
def test_a_wrong_setting_is_a_sentence_that_names_its_variable(more: dict[str, str], said: str) -> None:
    """And that repeats no secret."""
    with pytest.raises(ConfigurationError) as caught:
        settings(**more)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_circle_is_refused() -> None:
    """From a queue into itself; another virtual host, or another queue, is none."""
    source = parse_url("amqp://you:hunter2@there:5672/shop")
    with pytest.raises(ConfigurationError, match="SHOVEL_TO_QUEUE: messages would go from 'orders' into itself"):
        refuse_a_circle(settings(to_queue="orders"), source)
    refuse_a_circle(settings(to_queue="others"), source)
    refuse_a_circle(settings(to_queue="orders", to_url="amqp://there/"), source)


def test_few_are_held_where_few_may_go() -> None:
    """At two in ten seconds no more than twelve wait, a minute at most; the window is the upper bound."""
    assert settings(to_queue="a", rate="0.2").at_once == 12
    assert settings(to_queue="a", rate="0.001").at_once == 1
    assert settings(to_queue="a", rate="5000").at_once == 100
    assert settings(to_queue="a").at_once == 100
