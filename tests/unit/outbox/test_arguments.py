"""What cannot be meant is refused where it is said, not by the first message; and never with a URL in the error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rmqpool.errors import ConfigurationError, MessageError
from rmqpool.outbox import (
    AsyncInbox,
    AsyncOutbox,
    AsyncOutboxPool,
    Inbox,
    Outbox,
    OutboxPool,
    Relay,
    Tables,
)
from rmqpool.outbox.writes import Writes
from rmqpool.testing.passwords import MARK

URL: Any = f"postgresql://shop:{MARK}@localhost/shop"
BROKER = "amqp://localhost/"


@pytest.mark.parametrize(
    "make",
    [
        lambda wrong: Outbox(wrong),
        lambda wrong: AsyncOutbox(wrong),
        lambda wrong: OutboxPool(URL, tables=wrong),
        lambda wrong: AsyncOutboxPool(URL, tables=wrong),
        lambda wrong: Inbox(URL, tables=wrong),
        lambda wrong: AsyncInbox(URL, tables=wrong),
        lambda wrong: Relay(BROKER, URL, tables=wrong),
    ],
    ids=["Outbox", "AsyncOutbox", "OutboxPool", "AsyncOutboxPool", "Inbox", "AsyncInbox", "Relay"],
)
@pytest.mark.parametrize("wrong", [URL, "", 7, ("a", "b")], ids=["url", "empty", "number", "pair"])
def test_tables_are_tables(make: Callable[[Any], object], wrong: Any) -> None:
    """A URL in their place is the likely mistake: an Outbox holds no connection."""
    with pytest.raises(ConfigurationError, match=f"tables is a {type(wrong).__name__}; give Tables") as refused:
        make(wrong)
    assert MARK not in str(refused.value)


@pytest.mark.parametrize("inbox", [Inbox, AsyncInbox])
def test_an_inbox_has_a_database(inbox: Any) -> None:
    """A URL or a pool of its own kind; and a name for its consumer, if any."""
    other = (AsyncOutboxPool if inbox is Inbox else OutboxPool)(URL)
    for wrong in (None, 7, other, Tables()):
        with pytest.raises(ConfigurationError, match=f"is a {type(wrong).__name__}; give a URL"):
            inbox(wrong)
    for nobody in ("", 7):
        with pytest.raises(ConfigurationError, match="consumer"):
            inbox(URL, consumer=nobody)


@pytest.mark.parametrize("wrong", [None, 7, Tables()])
def test_a_relay_has_a_broker(wrong: Any) -> None:
    """Its URL, or a pool."""
    with pytest.raises(ConfigurationError, match="give the broker's URL"):
        Relay(wrong, URL)


def test_a_message_has_a_queue() -> None:
    """No queue has an empty name: such a row would stall for good. An exchange may well have an empty routing key."""
    writes = Writes(None, None, 1 << 20, True)
    with pytest.raises(MessageError, match="queue is empty"):
        writes.one("", "", 1, None, None, None, {})
    with pytest.raises(MessageError, match="queue is empty"):
        writes.many("", "", [1], None, None, None, {})
    assert writes.one("events", "", 1, None, None, None, {}).columns.routing_keys == [""]


@pytest.mark.parametrize("kind", [OutboxPool, AsyncOutboxPool])
def test_a_url_in_the_place_of_a_pool_is_told_where_it_goes(kind: type[OutboxPool] | type[AsyncOutboxPool]) -> None:
    """``of`` takes the application's own pool; the class takes the URL."""
    with pytest.raises(ConfigurationError, match=rf"for a URL write {kind.__name__}\(url\)") as refused:
        kind.of(URL)
    assert MARK not in str(refused.value)
