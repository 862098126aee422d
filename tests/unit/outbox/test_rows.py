"""From a message to a row and back: what the relay sends is what Publisher would have sent."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rmqpool.core.lanes import lane_of
from rmqpool.errors import MessageError
from rmqpool.message import Message
from rmqpool.outbox.rows import Columns, OutboxOptions, Row, check_key, message_of, prepare_row_message
from rmqpool.preparation import prepare_message

LIMIT = 1 << 20
SHORT = st.text(st.characters(codec="utf-8"), max_size=20)
NO_NUL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
HEADERS = st.dictionaries(
    SHORT.filter(lambda name: name not in ("CC", "BCC")),
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | SHORT
    | st.binary(max_size=9)
    | st.just(Decimal("-1.25"))
    | st.just(datetime(2024, 1, 1, tzinfo=UTC))
    | st.lists(SHORT, max_size=2),
    max_size=4,
)
OPTIONS: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "headers": HEADERS,
        "message_id": st.uuids().map(str) | SHORT,
        "priority": st.integers(0, 255),
        "expiration": st.integers(0, 10**6) | st.just("1500") | st.just(timedelta(hours=1)),
        "correlation_id": SHORT,
        "reply_to": SHORT,
        "type": SHORT,
        "user_id": SHORT,
        "app_id": SHORT,
        "timestamp": st.integers(0, 10**9) | st.just(datetime(2024, 1, 1, tzinfo=UTC)),
        "compression": st.sampled_from([None, "gzip"]),
        "persistent": st.booleans(),
        "mandatory": st.booleans(),
    },
)
BODIES = st.binary() | SHORT | st.dictionaries(SHORT, st.integers()) | st.lists(st.booleans()) | st.none()


def row_of(message: Message, key: str | None = None) -> Row:
    """The row as a relay reads it."""
    columns = Columns()
    columns.add(message, key, lambda: 5)
    lane, row_key, exchange, routing_key, message_id, properties, headers, body = (
        one for (one,) in columns.parameters()
    )
    return Row(1, lane, row_key, exchange, routing_key, message_id, properties, headers, body)


def fields(message: Message) -> dict[str, Any]:
    """All that a message is."""
    return {name: getattr(message, name) for name in Message.__slots__}


@given(NO_NUL, NO_NUL, BODIES, OPTIONS)
def test_a_row_is_the_message_that_publisher_makes(exchange: str, routing_key: str, body: object, options: Any) -> None:
    """Whatever the body, the headers and the options, the message that comes back is the same in every property."""
    assume(exchange or routing_key)
    options = {"message_id": "an id", **options}
    expected = prepare_message(exchange, routing_key, body, max_message_size=LIMIT, **options)
    row = row_of(prepare_row_message(exchange, routing_key, body, LIMIT, options))
    assert fields(message_of(row)) == fields(expected)
    assert str(uuid.UUID(row.message_id)) == row.message_id
    assert "\0" not in f"{row.properties}{row.headers}"
    assert "\\u0000" not in (row.properties or "").replace("\\\\", "")


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/vnd.shop+json", "text/plain"])
def test_content_types_come_back(content_type: str) -> None:
    """A type of the caller's, with an encoding of the caller's, is kept."""
    options: OutboxOptions = {"content_type": content_type, "content_encoding": "br", "message_id": "x"}
    expected = prepare_message("", "q", b"x", max_message_size=LIMIT, **options)
    assert fields(message_of(row_of(prepare_row_message("", "q", b"x", LIMIT, options)))) == fields(expected)


def test_what_every_message_has_takes_no_room() -> None:
    """A persistent message of JSON with an id of ours leaves properties and headers NULL."""
    row = row_of(prepare_row_message("", "q", {"id": 1}, LIMIT, {}))
    assert (row.properties, row.headers) == (None, None)


def test_an_id_that_is_no_uuid_has_always_the_same_row_id() -> None:
    """The column is a UUID: another id travels in the properties, and its UUID is made of it."""
    first, second = (row_of(prepare_row_message("", "q", 1, LIMIT, {"message_id": "order-7"})) for _ in range(2))
    assert first.message_id == second.message_id == str(uuid.uuid5(uuid.NAMESPACE_OID, "order-7"))
    assert json.loads(first.properties or "") == {"message_id": "order-7"}
    upper = "7D3F0F7E-3C1A-4F43-9D39-0F9F5B0F8A11"
    assert message_of(row_of(prepare_row_message("", "q", 1, LIMIT, {"message_id": upper}))).message_id == upper


def test_a_key_decides_the_lane_and_the_stall() -> None:
    """A row with a key lies in the key's lane and stalls with it; a row without one stalls alone."""
    message = prepare_row_message("", "q", 1, LIMIT, {})
    keyed, free = row_of(message, "customer-7"), row_of(message)
    assert (keyed.lane, keyed.stall) == (lane_of("customer-7"), "key:customer-7")
    assert (free.lane, free.stall) == (5, "row:1")


@pytest.mark.parametrize("key", ["", 7, b"k", "nul\0", "k" * 256, "ü" * 128, "\ud800"])
def test_a_key_that_cannot_be_one_is_refused(key: object) -> None:
    """Empty, no text, with a NUL, too long in bytes, no UTF-8: the error names the key."""
    with pytest.raises(MessageError, match="key") as refused:
        check_key(key)
    assert refused.value.field == "key"


@given(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60))
def test_any_other_key_is_taken_as_it_is(key: str | None) -> None:
    """A key is a text of at most 255 bytes."""
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("exchange", "routing_key", "body", "options", "field"),
    [
        ("", 5, 1, {}, "queue"),
        ("", None, 1, {}, "queue"),
        ("x\0", "r", 1, {}, "exchange"),
        ("x", "r\0", 1, {}, "routing_key"),
        ("", "q" * 256, 1, {}, "routing_key"),
        ("", "q", object(), {}, "body"),
        ("", "q", b"x" * (LIMIT + 1), {}, "body"),
        ("", "q", 1, {"prioritaet": 1}, "prioritaet"),
        ("", "q", 1, {"priority": 256}, "priority"),
        ("", "q", 1, {"headers": {"x": 1.5}}, "headers['x']"),
        ("", "q", 1, {"headers": {"x": "y" * 200_000}}, "headers"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_field(
    exchange: str, routing_key: Any, body: object, options: Any, field: str
) -> None:
    """Every check of Publisher's, and those of Postgres, is made before a row is."""
    with pytest.raises(MessageError) as refused:
        prepare_row_message(exchange, routing_key, body, LIMIT, options)
    assert refused.value.field == field


@pytest.mark.parametrize("properties", ['{"body": "x"}', "[]", "{", '{"x": 1, "y": 2}'])
def test_properties_that_nobody_of_us_wrote_are_a_value_error(properties: str) -> None:
    """The relay can give such a row up."""
    row = row_of(prepare_row_message("", "q", 1, LIMIT, {}))
    with pytest.raises(ValueError):
        message_of(row._replace(properties=properties))
