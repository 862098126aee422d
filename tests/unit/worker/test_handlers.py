"""What a handler takes is found out from its signature; mistakes are named when it is registered."""

import functools
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from rmqpool import Delivery
from rmqpool.errors import ConfigurationError, DecodeError
from rmqpool.outbox import AsyncTransaction, Transaction
from rmqpool.worker.handlers import content_types, inspect_handler

ACCEPT = content_types(["json", "text", "bytes"])


@dataclass
class Order:
    """A body."""

    id: int


class Item(BaseModel):
    """Another."""

    price: float


def received(body: Any, content_type: str | None = "application/json", **properties: Any) -> Delivery:
    """A delivery as a consumer gets it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(raw, "", "orders", 1, False, "orders", content_type=content_type, **properties)


def call(function: Any, delivery: Delivery, accept: Any = ACCEPT) -> Any:
    """What the handler returns for it."""
    positional, named = inspect_handler(function, accept).arguments(delivery)
    return function(*positional, **named)


def test_the_annotation_says_what_the_body_becomes():
    """Dataclass, pydantic model, dict, list, str, and text annotations."""

    def dataclass_(order: Order):
        return order

    def model(item: Item):
        return item

    def dictionary(order: dict):
        return order

    def items(orders: list[Order]):
        return orders

    def named(order: "Order"):
        return order

    assert call(dataclass_, received({"id": 1})) == Order(1)
    assert call(model, received({"price": 2})) == Item(price=2)
    assert call(dictionary, received({"id": 1})) == {"id": 1}
    assert call(items, received([{"id": 1}])) == [Order(1)]
    assert call(named, received({"id": 1})) == Order(1)
    assert call(lambda anything: anything, received([1])) == [1]


def test_bytes_are_the_body_as_it_is():
    """Undecoded, whatever its content type or charset says; only compression is undone."""

    def raw(body: bytes):
        return body

    assert call(raw, received(b"{no json", "application/json", content_encoding="utf-8")) == b"{no json"
    assert call(raw, received(b"\x80\x04N.", "application/x-python-serialize")) == b"\x80\x04N."


def test_a_body_without_a_content_type_is_read_as_what_the_handler_needs():
    """Many clients write none: the first accepted type for typed bodies, text for str, bytes for no annotation."""

    def typed(order: Order):
        return order

    def text(body: str):
        return body

    assert call(typed, received({"id": 3}, None)) == Order(3)
    assert call(text, received("é".encode(), None)) == "é"
    assert call(lambda body: body, received(b"raw", None)) == b"raw"


def test_the_delivery_comes_as_the_second_parameter_or_alone():
    """By annotation or by name, by position or by keyword."""
    delivery = received({"id": 1})

    def second(order: Order, delivery: Delivery):
        return order, delivery

    def other_name(order: Order, message: Delivery):
        return message

    def keyword(order: Order, *, delivery: Delivery):
        return delivery

    def untyped(order, delivery):
        return delivery

    def only_positional(order: Order, delivery: Delivery, /):
        return delivery

    def alone(anything: Delivery):
        return anything

    assert call(second, delivery) == (Order(1), delivery)
    for function in (other_name, keyword, untyped, only_positional, alone):
        assert call(function, delivery) is delivery


def test_defaults_methods_partials_and_objects_are_fine():
    """Whatever can be called with a body."""

    class Service:
        def handle(self, order: Order, delivery: Delivery | None = None, factor: int = 2):
            return order.id * factor

        async def later(self, order: Order): ...

        def __call__(self, order: Order):
            return order

    class Later:
        async def __call__(self, order: Order): ...

    def with_factor(factor: int, order: Order):
        return order.id * factor

    assert call(Service().handle, received({"id": 2})) == 4
    assert call(Service(), received({"id": 2})) == Order(2)
    assert call(functools.partial(with_factor, 5), received({"id": 2})) == 10
    assert inspect_handler(Service().later, ACCEPT).is_async
    assert inspect_handler(Later(), ACCEPT).is_async
    assert not inspect_handler(Service().handle, ACCEPT).is_async


def nothing(): ...
def no_body(*, order: Order): ...
def too_many(order: Order, delivery: Delivery, database: Any): ...
def two_bodies(order: Order, item: Item): ...
def wrong_delivery(order: Order, delivery: Order): ...
def twice(first: Delivery, second: Delivery): ...
def unknown(order: "Missing"): ...  # type: ignore[name-defined]  # noqa: F821


def generator(order: Order):
    yield order


async def async_generator(order: Order):
    yield order


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (nothing, "takes no message"),
        (no_body, "takes no message"),
        (too_many, "'database'"),
        (two_bodies, "'item'"),
        (wrong_delivery, "types delivery as"),
        (twice, "twice"),
        (unknown, "'Missing'"),
        (generator, "generator"),
        (async_generator, "generator"),
        (5, "cannot be called"),
    ],
)
def test_a_signature_that_cannot_work_is_refused_with_its_name(function, said):
    """When the module is imported, not at the first message."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        inspect_handler(function, ACCEPT)
    assert getattr(function, "__name__", "int") in str(caught.value)


def test_a_body_that_does_not_fit_is_a_decode_error():
    """With the path of what is wrong."""

    def typed(order: Order): ...

    with pytest.raises(DecodeError, match=r"body\.id") as caught:
        inspect_handler(typed, ACCEPT).arguments(received({"id": "x"}))
    assert caught.value.reason == "validation"
    with pytest.raises(DecodeError) as caught:
        inspect_handler(typed, ACCEPT).arguments(received(b"", "application/json"))
    assert caught.value.reason == "corrupt"


def test_only_accepted_content_types_are_decoded():
    """Pickle never, YAML only if asked for."""

    def typed(order: dict): ...

    for content_type in ("application/x-python-serialize", "application/x-yaml"):
        with pytest.raises(DecodeError) as caught:
            inspect_handler(typed, ACCEPT).arguments(received(b"a: 1", content_type))
        assert caught.value.reason == "content-type"
    assert inspect_handler(typed, content_types(["yaml"])).arguments(received(b"a: 1", "application/x-yaml")) == (
        ({"a": 1},),
        {},
    )


@pytest.mark.parametrize("accept", ["json", [], ["jason"], [5]])
def test_accept_takes_a_list_of_known_names(accept):
    """Or content types in full."""
    with pytest.raises(ConfigurationError, match="accept"):
        content_types(accept)
    assert content_types(["json", "text/csv"]) == ("application/json", "text/csv")


@pytest.mark.parametrize("accept", ["msgpack", "application/msgpack"])
def test_what_nothing_could_decode_is_refused(monkeypatch, accept):
    """Without its library every such message would be parked."""
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'rmqpool\[msgpack\]'"):
        content_types(["json", accept])


def test_a_transaction_is_found_by_its_type_with_or_without_its_connections():
    """Then its name does not matter; as a text too."""

    def plain(body: dict, work: Transaction): ...
    def named(body: dict, work: Transaction[Any]): ...
    def text(body: dict, work: "Transaction[Any]"): ...
    async def awaited(body: dict, work: AsyncTransaction[Any]): ...

    for handler in (plain, named, text, awaited):
        assert inspect_handler(handler, ACCEPT).transaction_as == "work"
