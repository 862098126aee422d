"""RabbitMQ's 406 texts, as 3.10 writes them, are turned into what differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.mismatch import CUT_OFF, explain_mismatch
from rmqpool.topology import Exchange, Queue

PREFIX = "PRECONDITION_FAILED - inequivalent arg "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "'x-dead-letter-exchange' for queue 'orders' in vhost '/': "
            "received none but current is the value '' of type 'longstr'",
            {"x-dead-letter-exchange": ("none", "")},
        ),
        (
            "'x-max-length' for queue 'q' in vhost '/': received the value '3' of type 'signedint' but current is none",
            {"x-max-length": ("3", "none")},
        ),
        (
            "'x-queue-type' for queue 'orders' in vhost '/': received 'classic' but current is 'quorum'",
            {"x-queue-type": ("classic", "quorum")},
        ),
        (
            "'x-message-ttl' for queue 'q' in vhost '/': received none of type undefined but current is "
            "the value '5' of type 'long'",
            {"x-message-ttl": ("none", "5")},
        ),
        (
            "'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
            {"durable": ("false", "true")},
        ),
        (
            "'type' for exchange 'e1' in vhost '/': received 'topic' but current is 'direct'",
            {"type": ("topic", "direct")},
        ),
        (
            "'x-dead-letter-routing-key' for queue 'it's 'q'' in vhost '/': received 'a b' but current is 'it's'",
            {"x-dead-letter-routing-key": ("a b", "it's")},
        ),
    ],
)
def test_the_argument_and_both_values_are_found(text, expected):
    """Declared first, then what is there."""
    assert explain_mismatch(PREFIX + text) == expected


def test_a_text_cut_within_the_current_value_keeps_the_declared_one():
    """AMQP's reply text ends at 255 bytes."""
    text = PREFIX + "'x-dead-letter-routing-key' for queue 'q' in vhost '/': received 'z' but current is 'rrrr..."
    assert explain_mismatch(text) == {"x-dead-letter-routing-key": ("z", CUT_OFF)}


@pytest.mark.parametrize("end", ["received...", "received 'z..."])
def test_a_text_cut_earlier_is_completed_from_what_was_declared(end):
    """The argument's name still stands there."""
    text = PREFIX + f"'x-dead-letter-routing-key' for queue 'orders' in vhost '/': {end}"
    assert explain_mismatch(text, Queue("orders")) == {"x-dead-letter-routing-key": ("orders.dead", CUT_OFF)}
    assert explain_mismatch(text) == {"x-dead-letter-routing-key": (CUT_OFF, CUT_OFF)}


def test_fields_that_are_no_arguments_are_completed_too():
    """durable and an exchange's type."""
    assert explain_mismatch(PREFIX + "'durable' for queue 'q", Queue("q")) == {"durable": ("true", CUT_OFF)}
    assert explain_mismatch(PREFIX + "'type' for exchange 'q", Exchange("q")) == {"type": ("direct", CUT_OFF)}
    assert explain_mismatch(PREFIX + "'x-other' for queue 'q", Queue("q")) == {"x-other": ("none", CUT_OFF)}


@pytest.mark.parametrize("text", ["", "NOT_FOUND - no queue 'q'", "PRECONDITION_FAILED - unknown delivery tag 3"])
def test_other_texts_are_no_mismatch(text):
    """Nothing is made up."""
    assert explain_mismatch(text) == {}


@given(st.text() | st.text().map(lambda text: PREFIX + "'x-a' for queue 'q': received " + text))
def test_no_text_breaks_it(text):
    """Whatever a broker writes: a dict of at most one entry."""
    assert len(explain_mismatch(text, Queue("q"))) <= 1
