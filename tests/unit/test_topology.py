"""Queues, exchanges and bindings: the defaults that never change, and what is refused."""

import dataclasses
import pickle
from datetime import timedelta

import pytest

from rmqpool import Publisher, Worker
from rmqpool.errors import ConfigurationError
from rmqpool.topology import (
    Binding,
    Exchange,
    Queue,
    dead_queue_name,
    default_topology,
    expand,
    retry_queue,
    retry_queue_name,
)

ORDERS = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 100,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "orders.dead",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
DEAD = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}


def test_the_default_arguments_are_these_for_good():
    """Changing any of them makes every existing queue of every user a mismatch: this test must never be edited."""
    dead, queue = default_topology("orders")
    assert (queue.name, queue.durable, queue.exclusive, queue.auto_delete) == ("orders", True, False, False)
    assert queue.declare_arguments() == ORDERS
    assert (dead.name, dead.durable, dead.exclusive, dead.auto_delete) == ("orders.dead", True, False, False)
    assert dead.declare_arguments() == DEAD


def test_a_producer_and_a_worker_declare_the_same():
    """Queue("orders") is what the worker's default topology declares, and it implies its dead-letter queue."""
    assert expand([Queue("orders")]) == default_topology("orders")


def test_a_retry_ladder_changes_nothing_of_the_queue_that_it_serves():
    """The ladder refers to the queue, and is not referred to."""
    values = expand([Queue("orders"), retry_queue("orders", 5), retry_queue("orders", 60)])
    arguments = {value.name: value.declare_arguments() for value in values}
    assert arguments["orders"] == ORDERS
    assert arguments["orders.dead"] == DEAD
    assert list(arguments) == ["orders.dead", "orders", "orders.retry.5s", "orders.retry.60s"]
    assert arguments["orders.retry.5s"] == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1_000_000_000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "orders",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-message-ttl": 5000,
    }


def test_the_names_of_the_queues_around_a_queue():
    """Settled with the arguments."""
    assert dead_queue_name("orders") == "orders.dead"
    assert retry_queue_name("orders", 5) == "orders.retry.5s"


def test_a_bare_classic_queue_has_no_argument_but_its_type():
    """The type is stated, because a virtual host may have another default; it equals a queue declared without."""
    queue = Queue("x", type="classic", dead_letter=None)
    assert queue.declare_arguments() == {"x-queue-type": "classic"}
    assert queue.implied() == ()


def test_a_classic_queue_dead_letters_without_the_arguments_that_it_does_not_know():
    """No strategy, no delivery limit."""
    assert Queue("x", type="classic").declare_arguments() == {
        "x-queue-type": "classic",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "x.dead",
    }


def test_a_stream_never_dead_letters():
    """It has its type only."""
    assert Queue("x", type="stream").declare_arguments() == {"x-queue-type": "stream"}
    assert Queue("x", type="stream").implied() == ()


def test_dead_letters_may_go_to_another_queue_or_exchange():
    """A name implies that queue; an exchange of one's own implies nothing."""
    assert [queue.name for queue in Queue("x", dead_letter="all.dead").implied()] == ["all.dead"]
    own = Queue("x", dead_letter_exchange="dlx", dead_letter_routing_key="k")
    assert own.implied() == ()
    assert own.declare_arguments()["x-dead-letter-exchange"] == "dlx"
    assert own.declare_arguments()["x-dead-letter-routing-key"] == "k"


def test_at_most_once_dead_lettering_leaves_the_overflow_alone():
    """reject-publish is needed by at-least-once only."""
    arguments = Queue("x", dead_letter_strategy="at-most-once", overflow="drop-head", max_length=5).declare_arguments()
    assert arguments["x-dead-letter-strategy"] == "at-most-once"
    assert arguments["x-overflow"] == "drop-head"


def test_seconds_become_milliseconds():
    """Numbers and timedeltas."""
    arguments = Queue("x", message_ttl=1.5, expires=timedelta(minutes=1), consumer_timeout=3600).declare_arguments()
    assert arguments["x-message-ttl"] == 1500
    assert arguments["x-expires"] == 60_000
    assert arguments["x-consumer-timeout"] == 3_600_000


def test_every_other_field_has_its_argument():
    """By the broker's names."""
    classic = Queue(
        "x",
        type="classic",
        dead_letter=None,
        max_length=1,
        max_length_bytes=2,
        overflow="reject-publish-dlx",
        single_active_consumer=True,
        max_priority=5,
        arguments={"x-queue-version": 2},
    )
    assert classic.declare_arguments() == {
        "x-queue-type": "classic",
        "x-max-length": 1,
        "x-max-length-bytes": 2,
        "x-overflow": "reject-publish-dlx",
        "x-single-active-consumer": True,
        "x-max-priority": 5,
        "x-queue-version": 2,
    }


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": ""}, "name is empty"),
        ({"name": "é" * 128}, "name has 256 bytes"),
        ({"name": "q" * 251}, "dead-letter queue has 256 bytes"),
        ({"name": "amq.x"}, "amq"),
        ({"name": "a\nb"}, "line break"),
        ({"name": "\ud800"}, "UTF-8"),
        ({"name": None}, "name must be a text"),
        ({"type": "quorun"}, "type"),
        ({"durable": False}, "durable"),
        ({"durable": 1}, "durable"),
        ({"exclusive": True}, "exclusive"),
        ({"auto_delete": True}, "auto_delete"),
        ({"max_priority": 5}, "max_priority"),
        ({"type": "classic", "max_priority": 256}, "max_priority"),
        ({"type": "classic", "delivery_limit": 5}, "delivery_limit"),
        ({"delivery_limit": -1}, "delivery_limit"),
        ({"delivery_limit": 2**31}, "delivery_limit"),
        ({"delivery_limit": True}, "delivery_limit"),
        ({"max_length": -1}, "max_length"),
        ({"max_length_bytes": 1.5}, "max_length_bytes"),
        ({"type": "stream", "max_length": 1}, "max_length"),
        ({"type": "stream", "message_ttl": 1}, "message_ttl"),
        ({"type": "stream", "overflow": "drop-head"}, "overflow"),
        ({"type": "stream", "dead_letter": "x"}, "dead_letter"),
        ({"type": "stream", "single_active_consumer": True}, "single_active_consumer"),
        ({"overflow": "reject-publish-dlx"}, "overflow"),
        ({"overflow": "drop-head"}, "overflow.*at-least-once"),
        ({"message_ttl": -1}, "message_ttl"),
        ({"message_ttl": float("nan")}, "message_ttl"),
        ({"message_ttl": "5"}, "message_ttl"),
        ({"message_ttl": 315_360_001}, "message_ttl"),
        ({"expires": 0}, "expires"),
        ({"consumer_timeout": 0}, "consumer_timeout"),
        ({"dead_letter": "q"}, "dead_letter"),
        ({"dead_letter": ""}, "name is empty"),
        ({"dead_letter": 5}, "dead_letter"),
        ({"dead_letter": "x", "dead_letter_exchange": ""}, "dead_letter"),
        ({"dead_letter_routing_key": "x"}, "dead_letter_routing_key"),
        ({"dead_letter_exchange": "x" * 256}, "dead_letter_exchange"),
        ({"dead_letter_strategy": "once"}, "dead_letter_strategy"),
        ({"dead_letter_strategy": "at-least-once", "dead_letter": None}, "dead_letter_strategy"),
        ({"dead_letter_strategy": "at-least-once", "type": "classic"}, "dead_letter_strategy"),
        ({"arguments": {"x-queue-type": "classic"}}, "type="),
        ({"arguments": {5: 1}}, "argument"),
        ({"arguments": []}, "arguments"),
    ],
)
def test_what_the_broker_would_refuse_is_refused_by_its_field(fields, told):
    """Each error names the field."""
    with pytest.raises(ConfigurationError, match=told):
        Queue(**{"name": "q", **fields})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Exchange(""),
        lambda: Exchange("amq.x"),
        lambda: Exchange("x", type=""),
        lambda: Exchange("x", type="direkt"),
        lambda: Exchange("x", type=None),
        lambda: Exchange("x", alternate_exchange=""),
        lambda: Exchange("x", arguments={"alternate-exchange": "y"}),
        lambda: Binding("", "q"),
        lambda: Binding("e", ""),
        lambda: Binding("e", "q", "k" * 256),
        lambda: Binding("e", "q", destination_type="topic"),
    ],
)
def test_wrong_exchanges_and_bindings_are_refused(make):
    """As queues are."""
    with pytest.raises(ConfigurationError):
        make()


def test_an_exchange_states_its_alternate():
    """And keeps other arguments."""
    exchange = Exchange("x", "x-delayed", alternate_exchange="other", arguments={"x-y": 1})
    assert exchange.declare_arguments() == {"alternate-exchange": "other", "x-y": 1}
    assert Binding("amq.topic", "q", "#", arguments={"a": 1}).declare_arguments() == {"a": 1}


def test_values_are_immutable_hashable_and_can_be_pickled():
    """They cross threads and processes."""
    queue = Queue("x", arguments={"x-y": [1]})
    assert len({queue, Queue("x", arguments={"x-y": [1]})}) == 1
    assert pickle.loads(pickle.dumps(queue)) == queue
    with pytest.raises(dataclasses.FrozenInstanceError):
        queue.name = "y"


def test_the_callers_dict_is_copied():
    """Changing it later changes no value."""
    arguments = {"x-y": 1}
    queue = Queue("x", arguments=arguments)
    arguments["x-z"] = 2
    queue.declare_arguments()["x-a"] = 3
    assert queue.arguments == {"x-y": 1}
    assert "x-a" not in queue.declare_arguments()


def test_the_order_of_declaring_is_one_that_works():
    """Exchanges, implied queues, queues, bindings; each once."""
    exchange, binding = Exchange("e"), Binding("e", "a", "k")
    values = expand([binding, Queue("a"), exchange, Queue("a"), Queue("b", dead_letter="a.dead")])
    assert [type(value).__name__ for value in values] == ["Exchange", "Queue", "Queue", "Queue", "Binding"]
    assert [value.name for value in values[1:4]] == ["a.dead", "a", "b"]


def test_an_explicit_dead_letter_queue_wins_over_the_implied_one():
    """Who declares it, means it."""
    own = Queue("a.dead", dead_letter=None, max_length=5)
    assert expand([Queue("a"), own]) == (Queue("a"), own)


@pytest.mark.parametrize("pair", [(Queue("a"), Queue("a", max_length=1)), (Exchange("a"), Exchange("a", "topic"))])
def test_one_name_with_two_meanings_is_refused(pair):
    """Only one of them could be declared."""
    with pytest.raises(ConfigurationError, match="declared twice"):
        expand(pair)


def test_other_things_are_no_topology():
    """A name where a value is meant: it would be declared by nobody."""
    with pytest.raises(ConfigurationError, match="Queue"):
        expand(["orders"])


def test_a_passive_queue_says_nothing_of_itself():
    """It is somebody else's: no arguments, and no dead-letter queue that anybody could rely on."""
    queue = Queue("theirs" * 40, passive=True, single_active_consumer=True, consumer_timeout=60)
    assert queue.declare_arguments() == {}
    assert queue.dead_letter_queue is None
    assert expand([queue]) == (queue,)


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (["orders"], r"not str: write Queue\('orders'\)"),
        ([Queue("orders"), Queue("orders", message_ttl=5)], "queue 'orders' is declared twice"),
        (Queue("orders"), r"declare takes a list: declare=\[Queue\(…\)\]"),
        ("orders", "takes a list of Queue, Exchange and Binding values"),
        ([{"queue": "orders"}], "not dict"),
    ],
)
def test_a_mistake_in_what_is_declared_is_told_where_it_is_written(declare, told):
    """A connection would find out much later, on its own thread."""
    for make in (
        lambda: Worker("shop", declare=declare),
        lambda: Publisher("amqp://nobody:x@127.0.0.1:1/", declare=declare),
    ):
        with pytest.raises(ConfigurationError, match=told):
            make()


@pytest.mark.parametrize(
    "stated",
    [{"max_length": 5}, {"delivery_limit": 5}, {"dead_letter": "other"}, {"arguments": {"x-note": 1}}, {"passive": 1}],
    ids=str,
)
def test_what_a_passive_queue_cannot_say_is_refused(stated):
    """It would be believed, and have no effect."""
    with pytest.raises(ConfigurationError, match="passive"):
        Queue("theirs", **{"passive": True, **stated})
