"""Headers in JSON: every type comes back, and nothing in it is refused by Postgres' jsonb."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.outbox.headers_json import headers_from_json, headers_to_json, plain_text

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = TEXTS | st.sampled_from(["$bytes", "$decimal", "$datetime", "$text", "$table", "$", "\0"])
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | TEXTS
    | st.binary(max_size=8)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | TIMES.map(lambda moment: moment.replace(microsecond=0, fold=0)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_headers_come_back(headers: dict[str, Any]) -> None:
    """Value and type are the same at every depth, names that look like marks of ours included."""
    text = headers_to_json(headers)
    assert repr(headers_from_json(text)) == repr(headers)
    assert "\0" not in text
    assert "\\u0000" not in json.dumps(json.loads(text)).replace("\\\\", "")


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_order_of_names_in_json_means_nothing(headers: dict[str, Any]) -> None:
    """Postgres' jsonb sorts the names of an object: the headers are the same."""
    shuffled = json.dumps(json.loads(headers_to_json(headers)), sort_keys=True)
    assert headers_from_json(shuffled) == headers


def test_a_time_is_a_moment_in_whole_seconds() -> None:
    """AMQP's times have no zone and no fractions: another zone's moment comes back in UTC."""
    given_time = datetime(2024, 1, 1, 12, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert headers_from_json(headers_to_json({"t": given_time})) == {"t": datetime(2024, 1, 1, 10, tzinfo=UTC)}


def test_the_forms_are_settled() -> None:
    """Rows lie in tables: what was written by one release is read by the next."""
    headers = {"b": b"\xff", "d": Decimal("1.50"), "t": datetime(1970, 1, 2, tzinfo=UTC), "n": "\0", "$": {"x": 1}}
    assert json.loads(headers_to_json(headers)) == {
        "$table": [
            ["b", {"$bytes": "/w=="}],
            ["d", {"$decimal": "1.50"}],
            ["t", {"$datetime": 86400}],
            ["n", {"$text": "AA=="}],
            ["$", {"x": 1}],
        ]
    }
    assert plain_text("a") == "a"


@pytest.mark.parametrize("text", ["[]", "1", '"x"', "null", "{", '{"x": {"$bytes": "*"}}', '{"x": {"$text": "_"}}'])
def test_what_nobody_of_us_wrote_is_a_value_error(text: str) -> None:
    """A relay that reads such a row can give it up."""
    with pytest.raises(ValueError):
        headers_from_json(text)


@pytest.mark.parametrize(
    ("mark", "inner"),
    [
        ("$decimal", '"x"'),
        ("$decimal", "null"),
        ("$decimal", "[1]"),
        ("$datetime", '"x"'),
        ("$datetime", "1e30"),
        ("$bytes", "7"),
        ("$text", "[]"),
        ("$table", "5"),
        ("$table", "[[1]]"),
        ("$table", "[[[], 1]]"),
    ],
)
def test_a_mark_with_something_else_in_it_is_a_value_error(mark: str, inner: str) -> None:
    """Whoever writes rows by hand gets ValueError, and no other error, for what we cannot read."""
    with pytest.raises(ValueError):
        headers_from_json(f'{{"x": {{"{mark}": {inner}}}}}')
