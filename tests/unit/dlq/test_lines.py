"""A dead letter survives the way into a line of JSON and back, with all its types."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.dlq import DeadLetter, letter_of, line_of
from rmqpool.errors import MessageError
from rmqpool.message import Delivery

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | TEXTS
    | st.binary(max_size=12)
    | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))
    | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-1000, max_value=1000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$bytes", "$time", "$table", "$decimal", "a", ""]) | TEXTS, inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=40) | TEXTS.map(str.encode), st.dictionaries(TEXTS, VALUES, max_size=4), TEXTS)
def test_everything_comes_back(body: bytes, headers: dict[str, Any], message_id: str) -> None:
    """Body, headers of every AMQP type and properties; one line whatever is in them."""
    delivery = Delivery(body, "ex", "rk", 7, False, headers=headers, message_id=message_id, priority=3, delivery_mode=2)
    line = line_of(DeadLetter(delivery))
    assert line.count(b"\n") == 1
    found = letter_of(line).delivery
    assert (found.body, found.headers, found.message_id) == (body, headers, message_id)
    assert (found.exchange, found.routing_key, found.priority, found.delivery_mode) == ("ex", "rk", 3, 2)


def test_a_line_is_readable_json() -> None:
    """A text body is text, so that grep and jq find what they look for."""
    line = line_of(DeadLetter(Delivery(b'{"id": 1}', "", "q", 1, False, headers={"x-rmqpool-reason": "exception"})))
    record = json.loads(line)
    assert (record["body"], record["reason"], record["rmqpool_dead_letter"]) == ('{"id": 1}', "exception", 1)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b'{"rmqpool_dead_letter":1,"bo', "cut off"),
        (b'{"rmqpool_dead_letter":1,"bo\n', "not JSON"),
        (b"[]\n", "not a JSON object"),
        (b'{"id": 7}\n', "not a line that rmqpool dlq export wrote"),
        (b'{"rmqpool_dead_letter":1}\n', "'body'"),
        (b'{"rmqpool_dead_letter":1,"body":"","headers":[]}\n', "'headers' is no object"),
        (b'{"rmqpool_dead_letter":1,"body":"","properties":{"priority":"high"}}\n', "'priority'"),
        (b'{"rmqpool_dead_letter":1,"body":"","headers":{"a":{"$time":"soon"}}}\n', "cannot be read"),
        (b'{"rmqpool_dead_letter":1,"body":"","headers":{"a":{"$bytes":"?"}}}\n', "cannot be read"),
        (b'{"rmqpool_dead_letter":1,"body":"","headers":{"a":{"$bytes":5}}}\n', "cannot be read"),
        (b'{"rmqpool_dead_letter":1,"body":"","headers":{"a":{"$decimal":"x"}}}\n', "cannot be read"),
        (b'{"rmqpool_dead_letter":1,"body":"","headers":{"a":{"$table":5}}}\n', "cannot be read"),
        (b'{"rmqpool_dead_letter":1,"body_base64":"?"}\n', "cannot be read"),
        (b"\xff\n", "not UTF-8"),
    ],
)
def test_a_wrong_line_is_told(line: bytes, part: str) -> None:
    """What is wrong with it, and whether the file seems to be cut off."""
    with pytest.raises(MessageError, match=part):
        letter_of(line)


def test_decimals_and_times_keep_their_type() -> None:
    """They are not turned into texts."""
    headers = {"d": Decimal("1.50"), "t": datetime(2026, 1, 31, tzinfo=UTC)}
    assert letter_of(line_of(DeadLetter(Delivery(b"", "", "q", 1, False, headers=headers)))).delivery.headers == headers
