"""Typed bodies: the annotation decides, and an error names the path."""

import dataclasses
import enum
import subprocess
import sys
import typing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import msgspec
import pydantic
import pytest
import typing_extensions

from rmqpool.codecs import decode_body, encode_body
from rmqpool.conversion import convert, converter
from rmqpool.errors import ConfigurationError, DecodeError


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Item:
    price: Decimal
    colour: Colour = Colour.RED


@dataclasses.dataclass
class Order:
    id: UUID
    when: datetime
    items: list[Item]
    note: str | None = None


class Model(pydantic.BaseModel):
    total: Decimal = pydantic.Field(alias="Total")
    items: list[Item]


class Struct(msgspec.Struct, rename="camel"):
    order_id: UUID
    when: datetime


class OurTypedDict(typing_extensions.TypedDict):
    a: int


class TypingTypedDict(typing.TypedDict):
    a: int


WHEN = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Order(UUID(int=1), WHEN, [Item(Decimal("1.10"))]), Order),
        ([Item(Decimal(1))], list[Item]),
        ({"a": Item(Decimal(1))}, dict[str, Item]),
        (None, Optional[Item]),  # noqa: UP045 - the old form is met in handlers
        (Item(Decimal(1)), Item | None),
        (Model(Total="1.5", items=[]), Model),
        (Struct(UUID(int=1), WHEN), Struct),
        ([Struct(UUID(int=1), WHEN)], list[Struct]),
        ({"a": 1}, OurTypedDict),
        ({"a": 1}, TypingTypedDict),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        (WHEN, datetime),
        (UUID(int=1), UUID),
        (Colour.RED, Colour),
        (5, Annotated[int, pydantic.Field(gt=3)]),
        ("a", Literal["a", "b"]),
        ({"a": [1]}, dict),
        ([1], list),
        ("text", str),
        (b"\xff", bytes),
        (7, int),
        (True, bool),
    ],
)
def test_what_was_published_arrives_as_what_the_handler_asks_for(value, annotation):
    """Through the wire: encode, decode, convert."""
    encoded = encode_body(value)
    decoded = decode_body(encoded.body, encoded.content_type, encoded.content_encoding)
    assert convert(decoded, annotation) == value


@pytest.mark.parametrize("annotation", [Any, object])
def test_any_takes_the_value_as_it_is(annotation):
    """No copy."""
    value = {"a": 1}
    assert convert(value, annotation) is value


def test_a_handler_without_annotation_takes_the_value_as_it_is():
    """inspect's mark for an absent annotation."""
    import inspect

    value = {"a": 1}
    assert convert(value, inspect.Parameter.empty) is value


@pytest.mark.parametrize(
    ("value", "annotation", "told"),
    [
        ({"id": "x", "when": "y", "items": []}, Order, r"no Order: body\.id: .*; body\.when: "),
        (
            {"id": str(UUID(int=1)), "when": "2026-01-02", "items": [{"price": "1"}, {"price": "x"}]},
            Order,
            r"body\.items\[1\]\.price",
        ),
        ({}, Model, r"body\.Total"),
        ({"orderId": 5, "when": "x"}, Struct, "orderId"),
        ([1, "x"], list[int], r"body\[1\]"),
        ({"a": "x"}, OurTypedDict, r"body\.a"),
        ({"a": "x"}, TypingTypedDict, r"\.a"),
        ("x", int, "no int"),
        ({}, bytes, "takes bytes"),
        ("text", bytes, "takes bytes"),
        ([], dict, "no dict"),
        ({}, str, "no str"),
    ],
)
def test_a_body_of_another_shape_is_a_validation_error_with_its_path(value, annotation, told):
    """reason="validation", for the parked message's headers."""
    with pytest.raises(DecodeError, match=told) as caught:
        convert(value, annotation)
    assert caught.value.reason == "validation"


def test_an_error_does_not_repeat_the_value_and_is_short():
    """A body may hold what no log should, a thousand times over."""
    with pytest.raises(DecodeError, match="and 995 more") as caught:
        convert(["canary-7f3a"] * 1000, list[int])
    assert "canary-7f3a" not in str(caught.value)
    assert len(str(caught.value)) < 1000


class NoBodyAtAll:
    """Nothing knows how to make one of these."""


@pytest.mark.parametrize("annotation", [NoBodyAtAll, "NotDefinedAnywhere", list[NoBodyAtAll]])
def test_an_annotation_that_nothing_can_validate_is_refused_when_the_handler_is_registered(annotation):
    """Not at the first message."""
    with pytest.raises(ConfigurationError, match=r"cannot be turned into|not resolved"):
        converter(annotation)


def test_a_converter_is_made_once():
    """Making one takes milliseconds."""
    assert converter(Order) is converter(Order)


def test_an_annotation_that_cannot_be_hashed_works_too():
    """It is made anew each time."""
    annotation = Annotated[int, {"not": "hashable"}]
    assert convert("5", annotation) == 5


def test_pydantic_is_loaded_when_a_converter_is_made_only():
    """Importing the module, and the codecs, costs none of it."""
    code = (
        "import sys, rmqpool.conversion, rmqpool.codecs, rmqpool.preparation, rmqpool.topology, rmqpool.urls;"
        "assert not {'pydantic', 'kombu', 'msgspec', 'msgpack', 'yaml', 'pika', 'ssl', 'socket'} & set(sys.modules),"
        "sorted({'pydantic', 'kombu', 'msgspec', 'msgpack', 'yaml', 'pika', 'ssl', 'socket'} & set(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
