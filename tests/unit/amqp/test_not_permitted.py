"""A queue of a kind that the broker denies is told to whoever declared it, with what to do; other losses are losses."""

import pytest
from pika import exceptions as pika_exceptions

from rmqpool import ChannelClosedError, ConnectionLostError, Exchange, Queue
from rmqpool.amqp.failures import connection_lost
from rmqpool.amqp.not_permitted import is_transient, not_permitted
from rmqpool.topology import Topology

# As RabbitMQ 4.0.5 words it, cut at 255 bytes (AMQP's short string).
TEXT = (
    "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\nIts use is not permitted per the configuration "
    '(overriding the default, which is permitted):\n    "deprecated_features.permit.transient_nonexcl_queues = false"\n'
    "Its use will not be permit..."
)


def test_a_transient_queue_that_is_denied_is_named_with_what_to_do() -> None:
    """In one sentence on one line, with the feature's name for the operator."""
    lost = connection_lost(pika_exceptions.ConnectionClosedByBroker(541, TEXT), "a")
    error = not_permitted(lost, "declaring queue 'q'")
    assert type(error) is ChannelClosedError
    assert error.code == 541
    told = str(error)
    assert told.startswith("declaring queue 'q': this broker permits no queue that is neither durable nor exclusive")
    assert "durable=True" in told
    assert "deprecated_features.permit.transient_nonexcl_queues = true" in told
    assert "\n" not in str(lost) + told + error.text


def test_other_ends_of_a_connection_are_no_denial() -> None:
    """Another reason, and no loss of a connection at all."""
    for reason in (
        pika_exceptions.ConnectionClosedByBroker(541, "INTERNAL_ERROR"),
        pika_exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"),
        pika_exceptions.StreamLostError("x"),
    ):
        assert not_permitted(connection_lost(reason, "a"), "declaring queue 'q'") is None
    assert not_permitted(ChannelClosedError(TEXT), "declaring queue 'q'") is None
    assert not_permitted(ConnectionLostError("x"), "declaring queue 'q'") is None


@pytest.mark.parametrize(
    ("item", "transient"),
    [
        (Queue("q", type="classic", durable=False), True),
        (Queue("q", type="classic", durable=False, auto_delete=True), True),
        (Queue("q"), False),
        (Queue("q", type="classic", durable=False, exclusive=True), False),
        (Queue("q", type="classic", durable=False, passive=True), False),
        (Exchange("e", durable=False), False),
    ],
    ids=repr,
)
def test_only_queues_that_are_neither_durable_nor_exclusive_are_of_that_kind(item: Topology, transient: bool) -> None:
    """Nobody else is told that the broker does not permit what was declared."""
    assert is_transient(item) is transient
