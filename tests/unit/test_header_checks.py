"""Headers that pass can be written by pika; others are refused with their path."""

import enum
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from rmqpool.errors import MessageError
from rmqpool.header_checks import check_headers

ANY_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
    | st.decimals()
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-12)))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(), max_size=5) | st.integers(), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)


def _encode(headers):
    return b"".join(BasicProperties(headers=headers).encode())


@given(st.dictionaries(st.text(st.characters(), max_size=300), ANY_VALUES, max_size=5))
def test_whatever_passes_can_be_written(headers):
    """pika encodes it, and reads it back with the same keys."""
    try:
        checked = check_headers(headers)
    except MessageError as error:
        assert error.field.startswith("headers")  # noqa: PT017 - refusing is right too
    else:
        assert BasicProperties().decode(_encode(checked)).headers == _as_read(checked)


def _as_read(value):
    """What AMQP keeps: seconds of a time, in UTC."""
    if isinstance(value, dict):
        return {key: _as_read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_read(item) for item in value]
    if isinstance(value, datetime):
        return datetime.fromtimestamp(int(value.timestamp()), UTC)
    return value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        2**63 - 1,
        -(2**63),
        "é",
        b"\xff",
        Decimal("-21474836.48"),
        Decimal("2147483647"),
        Decimal("1E+9"),
        Decimal("0E-300"),
        Decimal("1E-255"),
        datetime(1970, 1, 1, tzinfo=UTC),
        [1, ["a", {"b": None}]],
        {},
        OrderedDict(a=1),
        enum.IntEnum("Size", "BIG").BIG,
    ],
)
def test_what_amqp_has_a_type_for_passes(value):
    """And is written."""
    assert _encode(check_headers({"k": value}))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1.5, r"headers\['k'\] is a float.*Decimal"),
        (2**63, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ((1,), "use a list"),
        ({1}, "use a list"),
        (bytearray(b"x"), "use bytes"),
        (object(), "is a object"),
        ("\ud800", "surrogate"),
        (Decimal("NaN"), "Decimal"),
        (Decimal("Infinity"), "Decimal"),
        (Decimal("2147483648"), "Decimal"),
        (Decimal("-2147483649"), "Decimal"),
        (Decimal("1E-256"), "Decimal"),
        (Decimal("1E+1000000"), "Decimal"),
        (Decimal("1.23456789012345"), "Decimal"),
        (datetime(2026, 1, 1), "time zone"),
        (datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "1970"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))), "9999"),
        ([1, {"a": 1.5}], r"headers\['k'\]\[1\]\['a'\] is a float"),
        ({5: 1}, r"headers\['k'\] has a key of type int"),
        (MappingProxyType({}), "mappingproxy"),
    ],
)
def test_what_amqp_has_no_type_for_is_refused_with_its_path(value, told):
    """And with what to do instead."""
    with pytest.raises(MessageError, match=told) as caught:
        check_headers({"k": value})
    assert caught.value.field.startswith("headers['k']")


def test_a_name_of_more_than_255_bytes_is_refused():
    """AMQP's short string."""
    assert check_headers({"k" * 255: 1})
    with pytest.raises(MessageError, match="255 bytes"):
        check_headers({"é" * 128: 1})


def test_headers_that_contain_themselves_are_refused():
    """No endless loop."""
    headers: dict = {}
    headers["k"] = [headers]
    with pytest.raises(MessageError, match="contain themselves"):
        check_headers(headers)


@pytest.mark.parametrize("name", ["CC", "BCC"])
@pytest.mark.parametrize("value", ["orders", None, [5], ["k" * 256], {"a": "b"}])
def test_cc_and_bcc_are_lists_of_routing_keys(name, value):
    """RabbitMQ closes the channel over anything else."""
    assert check_headers({name: ["a", "b"]}) == {name: ["a", "b"]}
    with pytest.raises(MessageError, match=name):
        check_headers({name: value})


@pytest.mark.parametrize("headers", [[], "x", 5])
def test_headers_are_a_mapping(headers):
    """Any mapping, copied."""
    original = {"a": 1}
    assert check_headers(MappingProxyType(original)) == original
    assert check_headers(original) is not original
    with pytest.raises(MessageError, match="mapping"):
        check_headers(headers)
