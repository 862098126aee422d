"""What is not surely readable as a table or as properties is refused, and everything else is let through."""

import contextlib
import datetime
import decimal
import math
import struct
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import data

from rmqpool.agent.tables import check_properties, check_table
from rmqpool.agent.violation import Violation

NAMES = st.text(max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2100, 1, 1))
    | st.decimals(-10_000, 10_000, places=2)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))
TABLES = st.dictionaries(NAMES, VALUES, max_size=5)


def encoded(table: dict[str, Any]) -> bytes:
    """By pika."""
    pieces: list[bytes] = []
    data.encode_table(pieces, table)
    return b"".join(pieces)


@given(TABLES)
def test_every_table_of_pikas_is_walked_to_its_end(table: dict[str, Any]) -> None:
    """With bytes before and behind it."""
    raw = encoded(table)
    assert check_table(b"xx" + raw + b"yy", 2, 2 + len(raw)) == 2 + len(raw)


@given(TABLES, st.integers(1, 1000))
def test_a_table_that_is_cut_off_is_refused(table: dict[str, Any], cut: int) -> None:
    """Wherever."""
    raw = encoded(table)
    with pytest.raises(Violation):
        check_table(raw, 0, max(0, len(raw) - cut))


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(raw: bytes) -> None:
    """Never an error of another kind."""
    for check in (check_table, check_properties):
        with contextlib.suppress(Violation):
            check(raw, 0, len(raw))


@given(TABLES, st.text(max_size=50), st.integers(0, 255) | st.none(), st.integers(0, 2**63 - 1) | st.none())
def test_properties_of_pikas_are_let_through(
    table: dict[str, Any], text: str, number: int | None, time: int | None
) -> None:
    """With any of them left out; one byte more or less is refused."""
    raw = b"".join(
        pika.BasicProperties(
            content_type=text or None,
            headers=table or None,
            delivery_mode=number,
            message_id=text,
            timestamp=time,
            app_id=text or None,
        ).encode()
    )
    check_properties(raw, 0, len(raw))
    for wrong in (raw + b"\0", raw[:-1]):
        with pytest.raises(Violation):
            check_properties(wrong, 0, len(wrong))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_erlang_has_not_are_refused(number: float) -> None:
    """The broker's decoder matches no such float, and its channel dies of it."""
    for kind, layout in ((b"d", ">d"), (b"f", ">f")):
        body = b"\x01n" + kind + struct.pack(layout, number)
        with pytest.raises(Violation):
            check_table(struct.pack(">I", len(body)) + body, 0, 4 + len(body))


def test_other_numbers_are_let_through() -> None:
    """pika writes no floats; others do."""
    body = b"\x01nd" + struct.pack(">d", 1.5) + b"\x01mf" + struct.pack(">f", -2.0)
    assert check_table(struct.pack(">I", len(body)) + body, 0, 4 + len(body)) == 4 + len(body)


def test_tables_in_tables_have_an_end() -> None:
    """Deeper than anybody needs, and no recursion error."""
    raw = struct.pack(">I", 0)
    for _ in range(5000):
        body = b"\x01nF" + raw
        raw = struct.pack(">I", len(body)) + body
    with pytest.raises(Violation, match="nested"):
        check_table(raw, 0, len(raw))


def test_decimals_are_values_too() -> None:
    """pika writes them as scale and number."""
    raw = encoded({"price": decimal.Decimal("9.99")})
    assert check_table(raw, 0, len(raw)) == len(raw)
