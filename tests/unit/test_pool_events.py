"""Events of all pools are told alike."""

from rmqpool import PoolEventKind
from rmqpool.amqp.link import LinkEvent


def test_each_event_of_a_connection_is_one_of_its_pool() -> None:
    """By the same text, so that a listener of a pool hears of all its connections."""
    assert {str(event) for event in LinkEvent} <= {str(kind) for kind in PoolEventKind}


def test_a_kind_has_the_text_of_its_name() -> None:
    """A log line can be searched for."""
    assert all(str(kind) == kind.name.lower() for kind in PoolEventKind)
