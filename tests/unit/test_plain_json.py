"""JSON as other languages read it, and errors that name the path."""

import dataclasses
import enum
import json
import traceback
from collections import OrderedDict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps as kombu_dumps

from rmqpool.errors import EncodeError
from rmqpool.plain_json import dump_json, load_json, plain_value

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


@dataclasses.dataclass
class Item:
    price: Decimal
    when: object = None


@dataclasses.dataclass
class Order:
    items: list


class Model(pydantic.BaseModel):
    total: Decimal = pydantic.Field(alias="Total")
    when: datetime


class Struct(msgspec.Struct, rename="camel"):
    order_id: UUID
    items: list


@given(JSON_VALUES)
def test_any_json_value_comes_back_as_it_was(value):
    """load_json(dump_json(value)) == value, and any JSON parser agrees."""
    body = dump_json(value)
    assert load_json(body.decode()) == value
    assert json.loads(body) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"é": [1, 2.5, None, True]}, '{"é":[1,2.5,null,true]}'),
        ((1, (2,)), "[1,[2]]"),
        (deque([1]), "[1]"),
        ({7}, "[7]"),
        (frozenset({7}), "[7]"),
        (OrderedDict(a=1), '{"a":1}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        ({1: 2}, '{"1":2}'),
        (WHEN, '"2026-01-02T03:04:05.000678+02:00"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (time(3, 4), '"03:04:00"'),
        (Decimal("1.10"), '"1.10"'),
        (UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        ([Colour.RED, Size.BIG], '["red",3]'),
        (Order([Item(Decimal(1), WHEN.date())]), '{"items":[{"price":"1","when":"2026-01-02"}]}'),
        (Model(Total="1.5", when=WHEN), '{"Total":"1.5","when":"2026-01-02T03:04:05.000678+02:00"}'),
        (
            Struct(UUID(int=5), [Decimal(2)]),
            '{"orderId":"00000000-0000-0000-0000-000000000005","items":["2"]}',
        ),
    ],
)
def test_what_has_no_json_form_becomes_plain_json(value, text):
    """No tags, so that every language reads it."""
    assert dump_json(value).decode() == text
    assert load_json(json.dumps(plain_value(value) if not isinstance(value, dict) else value)) == json.loads(text)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Order([Item(1), Item(2, object())]), r"body\.items\[1\]\.when is a object"),
        ({"a": {"b c": [b"x"]}}, r"body\.a\['b c'\]\[0\] is bytes.*base64"),
        ({"a": float("nan")}, r"body\.a is nan"),
        ([float("inf")], r"body\[0\] is inf"),
        ([Decimal("NaN")], r"body\[0\] is not a finite number"),
        ({"a": timedelta(1)}, r"body\.a is a timedelta"),
        ({(1, 2): 3}, r"body has a key of type tuple"),
        ({"a": "\ud800"}, r"body\.a is a text with half a surrogate pair"),
        ({"\ud800": 1}, r"key of it, is a text with half a surrogate pair"),
        ([1, print], r"body\[1\] is a builtin_function_or_method"),
        (Order, r"body is a type"),
        ([Struct(UUID(int=1), [b"x"])], r"body\[0\]\.items\[0\] is bytes"),
    ],
)
def test_what_cannot_be_encoded_is_named_by_its_path_and_type(value, told):
    """One sentence that leads to the place."""
    with pytest.raises(EncodeError, match=told) as caught:
        dump_json(value)
    assert caught.value.field.startswith("body")


def test_a_body_that_contains_itself_is_refused():
    """No endless loop."""
    circle: list = []
    circle.append(circle)
    with pytest.raises(EncodeError, match="contains itself"):
        dump_json(circle)
    with pytest.raises(EncodeError, match="contains itself"):
        plain_value(circle)


def test_a_serializer_of_the_users_that_raises_is_an_encode_error():
    """Chained to what it raised."""

    @dataclasses.dataclass
    class Broken:
        value: int = 1

        def __getattribute__(self, name):
            if name == "value":
                raise RuntimeError("broken")
            return object.__getattribute__(self, name)

    with pytest.raises(EncodeError, match=r"body\[0\] raised RuntimeError") as caught:
        dump_json([Broken.__new__(Broken)])
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_errors_do_not_repeat_values():
    """A body may hold what no log should."""
    body = {"card": "canary-7f3a", "bad": object()}
    with pytest.raises(EncodeError) as caught:
        dump_json(body)
    assert "canary-7f3a" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}', "", "{", "nul", "[1,]", "\ufeff1"])
def test_what_is_no_json_is_refused(text):
    """Python alone would read NaN."""
    with pytest.raises(ValueError, match=r"."):
        load_json(text)


@pytest.mark.parametrize(
    "value",
    [WHEN, WHEN.date(), WHEN.time(), Decimal("1.10"), UUID(int=5), b"text", b"\xff\x00", {"a": [Decimal(1)], "b": {}}],
)
def test_kombus_tagged_form_is_understood(value):
    """What a kombu or Celery peer wrote."""
    assert load_json(kombu_dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"__type__":"os.system","__value__":"x"}',
        '{"__type__":["datetime"],"__value__":"x"}',
        '{"__type__":"datetime","__value__":"x","more":1}',
        '{"__type__":"datetime"}',
    ],
)
def test_other_dicts_with_such_keys_stay_as_they_are(text):
    """Only kombu's own tags have a meaning, and no type can be registered."""
    assert load_json(text) == json.loads(text)


@pytest.mark.parametrize("tag", ["datetime", "date", "time", "decimal", "uuid", "bytes", "base64"])
@pytest.mark.parametrize("value", ["5", "null", '"!"', "[]", '{"hex":5}', "1e999"])
def test_a_tag_with_a_wrong_value_is_a_value_error(tag, value):
    """Never another exception."""
    text = f'{{"__type__":"{tag}","__value__":{value}}}'
    try:
        load_json(text)
    except ValueError as error:
        assert "tagged form" in str(error)  # noqa: PT017 - "!" is a text, and so right for bytes
    else:
        assert (tag, value) == ("bytes", '"!"') or tag == "decimal"


@given(JSON_VALUES)
def test_plain_values_stay_as_they_are(value):
    """plain_value changes what needs it only."""
    assert plain_value(value) == value


def test_plain_value_lets_bytes_through_and_refuses_other_keys():
    """MessagePack has bytes; its readers refuse keys that are no texts."""
    assert plain_value({"a": bytearray(b"x"), "b": memoryview(b"y"), "c": Colour.RED}) == {
        "a": b"x",
        "b": b"y",
        "c": "red",
    }
    with pytest.raises(EncodeError, match=r"body\.a has a key of type int"):
        plain_value({"a": {1: 2}})
