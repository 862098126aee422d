"""The names of our headers are settled, and the broker's history is not copied."""

from rmqpool import headers
from rmqpool.message import Delivery


def test_the_names_are_these_for_good():
    """Messages with them lie in queues for years: this test must never be edited, only extended."""
    assert {
        "x-rmqpool-attempt",
        "x-rmqpool-first-failure-at",
        "x-rmqpool-reason",
        "x-rmqpool-exception-type",
        "x-rmqpool-exception-message",
        "x-rmqpool-exception-traceback",
        "x-rmqpool-original-exchange",
        "x-rmqpool-original-routing-key",
        "x-rmqpool-original-queue",
        "x-rmqpool-original-expiration",
        "x-rmqpool-original-user-id",
        "x-rmqpool-original-cc",
        "x-rmqpool-worker",
        "x-rmqpool-parked-at",
        "x-rmqpool-delay-left",
        "x-rmqpool-moved-exchange",
        "x-rmqpool-moved-expiration",
        "x-rmqpool-moved-user-id",
        "x-rmqpool-reply-error",
    } == headers.ALL


def test_every_constant_with_our_prefix_is_listed():
    """A name that is added is added to ALL."""
    ours = {value for value in vars(headers).values() if isinstance(value, str) and value.startswith(headers.PREFIX)}
    assert ours - {headers.PREFIX} == headers.ALL


def test_a_delivery_reads_the_attempt_header():
    """The one name that is used in two places."""
    delivery = Delivery(b"", "", "q", 1, False, headers={headers.ATTEMPT: 4})
    assert delivery.attempt == 4


def test_the_brokers_history_is_stripped_and_the_rest_kept():
    """Old brokers drop a message that carries an x-death of its own queue as a cycle."""
    received = {
        "x-death": [],
        "x-first-death-queue": "q",
        "x-last-death-reason": "expired",
        "x-delivery-count": 3,
        "x-acquired-count": 3,
        "x-rmqpool-attempt": 2,
        "x-death-note": "kept",
        "CC": ["a"],
    }
    assert headers.without_broker_history(received) == {"x-rmqpool-attempt": 2, "x-death-note": "kept", "CC": ["a"]}
    assert "x-death" in received
