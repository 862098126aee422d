"""What a broker tells becomes the values that declare it, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.topology_facts import (
    binding_from,
    definition_of,
    exchange_from,
    properties_of,
    queue_from,
    queue_properties,
)
from rmqpool.errors import ConfigurationError
from rmqpool.topology import Binding, Exchange, Queue

MILLISECONDS = st.integers(1, 10_000_000)
COUNTS = st.integers(0, 1_000_000)
OTHERS = {"x-queue-leader-locator": st.just("client-local"), "x-foreign": st.integers() | st.booleans() | st.text()}
QUORUM = {
    "x-delivery-limit": st.integers(0, 1000),
    "x-max-length": COUNTS,
    "x-max-length-bytes": COUNTS,
    "x-message-ttl": MILLISECONDS,
    "x-expires": MILLISECONDS,
    "x-consumer-timeout": MILLISECONDS,
    "x-single-active-consumer": st.just(True),
    "x-dead-letter-exchange": st.sampled_from(["", "dead", "amq.topic"]),
    "x-quorum-initial-group-size": st.just(3),
    **OTHERS,
}
CLASSIC = {
    **{name: value for name, value in QUORUM.items() if name != "x-delivery-limit"},
    "x-max-priority": st.just(5),
}


def queues(kind: str, arguments: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Queues as the management API tells them."""
    given_arguments = st.fixed_dictionaries({"x-queue-type": st.just(kind)}, optional=arguments)
    dead = st.sampled_from([{}, {"x-dead-letter-routing-key": "orders.dead"}, {"x-dead-letter-routing-key": "k"}])
    strategy = st.sampled_from(
        [{}] if kind == "classic" else [{}, {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}]
    )
    return st.builds(
        lambda own, key, safe: {
            "name": "orders",
            "durable": True,
            "type": kind,
            "arguments": {**own, **key, **safe} if "x-dead-letter-exchange" in own else own,
        },
        given_arguments,
        dead,
        strategy,
    )


@given(told=queues("quorum", QUORUM) | queues("classic", CLASSIC), known=st.sets(st.sampled_from(["orders.dead", "k"])))
def test_a_value_declares_exactly_what_the_broker_tells(told: dict[str, Any], known: set[str]) -> None:
    """Also where a queue lacks what ours state, or has what they do not know."""
    queue = queue_from(told, known)
    assert queue.declare_arguments() == told["arguments"]
    assert properties_of(queue) == queue_properties(told)
    assert queue_from(definition_of(queue), known) == queue


def test_a_classic_queue_without_a_type_has_one() -> None:
    """It is what RabbitMQ makes of it; with and without equal each other."""
    told = {"name": "orders", "durable": True, "type": "classic", "arguments": {}}
    assert queue_from(told).declare_arguments() == {"x-queue-type": "classic"}
    assert queue_properties(told)["x-queue-type"] == "classic"


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-queue-type": "quorum", "x-delivery-limit": -1},
        {"x-queue-type": "quorum", "x-message-ttl": "soon"},
        {"x-queue-type": "x-new"},
    ],
)
def test_what_no_value_can_say_is_told_by_the_queues_name(arguments: dict[str, Any]) -> None:
    """An export leaves it out with that sentence."""
    with pytest.raises(ConfigurationError, match="orders"):
        queue_from({"name": "orders", "arguments": arguments})


@given(
    st.builds(
        Exchange,
        st.just("events"),
        type=st.sampled_from(["topic", "fanout", "x-delayed"]),
        internal=st.booleans(),
        alternate_exchange=st.none() | st.just("other"),
        arguments=st.dictionaries(st.just("x-note"), st.integers()),
    )
)
def test_exchanges_go_both_ways(exchange: Exchange) -> None:
    """As in RabbitMQ's definitions."""
    assert exchange_from(definition_of(exchange)) == exchange


def test_bindings_go_both_ways() -> None:
    """With arguments, to queues and exchanges."""
    for binding in (
        Binding("events", "orders", "k", arguments={"x": 1}),
        Binding("a", "b", destination_type="exchange"),
    ):
        assert binding_from(definition_of(binding)) == binding


def test_every_typed_argument_of_a_queue_is_a_field() -> None:
    """Quorum type, delivery limit, lengths, overflow, TTL, dead letters, single active consumer, priorities, timeout."""
    quorum = Queue(
        "q", delivery_limit=3, max_length=1, max_length_bytes=2, message_ttl=1, expires=2, consumer_timeout=3,
        single_active_consumer=True, overflow="reject-publish", dead_letter_exchange="x", dead_letter_routing_key="k",
        dead_letter_strategy="at-least-once", arguments={"x-queue-leader-locator": "balanced"},
    )  # fmt: skip
    assert quorum.declare_arguments() == {
        "x-queue-type": "quorum", "x-delivery-limit": 3, "x-max-length": 1, "x-max-length-bytes": 2,
        "x-message-ttl": 1000, "x-expires": 2000, "x-consumer-timeout": 3000, "x-single-active-consumer": True,
        "x-overflow": "reject-publish", "x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "k",
        "x-dead-letter-strategy": "at-least-once", "x-queue-leader-locator": "balanced",
    }  # fmt: skip
    assert Queue("q", type="classic", dead_letter=None, max_priority=9).declare_arguments()["x-max-priority"] == 9


def test_unstated_arguments_are_left_out_and_nothing_else() -> None:
    """For a queue that another client declared without them."""
    queue = Queue("q", dead_letter=None, unstated=["x-delivery-limit"])  # type: ignore[arg-type]
    assert queue.declare_arguments() == {"x-queue-type": "quorum"}
    assert queue.unstated == ("x-delivery-limit",)
    for wrong in ("x-delivery-limit", ["x-note"], 7):
        with pytest.raises(ConfigurationError, match="unstated"):
            Queue("q", unstated=wrong)  # type: ignore[arg-type]
