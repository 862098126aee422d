"""What a handler of batches may ask for, and what is refused when it is registered."""

from collections.abc import Sequence
from typing import Any

import pytest

from rmqpool import BatchError, ConfigurationError, Delivery, Reject, Worker
from rmqpool.worker.batch_handlers import inspect_batch_handler
from rmqpool.worker.batch_verdicts import named_in

JSON = ("application/json",)


def received(body: bytes) -> Delivery:
    """A delivery of JSON."""
    return Delivery(body, "", "orders", 1, False, content_type="application/json")


def untyped(bodies): ...
def bare(bodies: list): ...
def anything(bodies: Any): ...
def typed(bodies: list[dict]): ...
def sequence(bodies: Sequence[dict]): ...


@pytest.mark.parametrize("function", [untyped, bare, anything, typed, sequence])
def test_a_list_of_decoded_bodies(function):
    """However it is said."""
    handler, shape = inspect_batch_handler(function, JSON, 10, 0.5)
    assert handler.arguments(received(b'{"a":1}')) == (({"a": 1},), {})
    assert not handler.takes_delivery
    assert shape.arguments([1, 2], []) == (([1, 2],), {})
    assert (shape.size, shape.timeout) == (10, 0.5)


def test_raw_bodies_deliveries_or_both():
    """By annotation, or by the name `deliveries`."""

    def raw(bodies: list[bytes], others: list[Delivery]): ...
    def only(deliveries: list[Delivery]): ...
    def named(bodies, deliveries): ...
    def positional(bodies, deliveries, /): ...

    one = received(b"1")
    handler, shape = inspect_batch_handler(raw, JSON, 1, 0)
    assert handler.arguments(one) == ((b"1",), {})
    assert shape.arguments([b"1"], [one]) == (([b"1"],), {"others": [one]})
    handler, shape = inspect_batch_handler(only, JSON, 1, 0)
    assert handler.takes_delivery
    assert handler.arguments(one) == ((one,), {})
    _, shape = inspect_batch_handler(named, JSON, 1, 0)
    assert shape.arguments([1], [one]) == (([1],), {"deliveries": [one]})
    _, shape = inspect_batch_handler(positional, JSON, 1, 0)
    assert shape.arguments([1], [one]) == (([1], [one]), {})


def one_body(order: dict): ...
def twice(first: list[Delivery], second: list[Delivery]): ...
def more(bodies: list[dict], other: int): ...
def nothing(): ...
def generator(bodies: list[dict]):
    yield bodies


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (one_body, "must be a list"),
        (twice, "asks for the deliveries twice"),
        (more, "'other' that nothing fills"),
        (nothing, "takes no messages"),
        (generator, "is a generator"),
    ],
)
def test_what_cannot_work_is_refused(function, said):
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=said):
        inspect_batch_handler(function, JSON, 1, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 0}, "from 1 to 2000"),
        ({"batch": 2001}, "from 1 to 2000"),
        ({"batch": True}, "from 1 to 2000"),
        ({"batch": 5, "batch_timeout": -1}, "seconds"),
        ({"batch": 5, "batch_timeout": 601}, "from 0 to 600"),
        ({"batch_timeout": 1}, "without batch"),
        ({"batch": 5, "prefetch": 4}, "at least 5"),
        ({"batch": 5, "ack": "manual"}, "deliveries: list"),
    ],
)
def test_wrong_options_are_refused(options, said):
    """At registration."""
    with pytest.raises(ConfigurationError, match=said):
        Worker("w").consumer("orders", **options)(typed)


@pytest.mark.parametrize("failures", [{}, None, {0: "bad"}, {0: Reject}, {0: BatchError({0: Reject()})}])
def test_a_batch_error_names_exceptions(failures):
    """And at least one."""
    with pytest.raises(ConfigurationError, match="BatchError"):
        BatchError(failures)


def test_names_are_deliveries_or_indices():
    """As in a list: also from its end."""
    batch = [received(b"0"), received(b"1"), received(b"2")]
    first, last = Reject("first"), ValueError("last")
    assert named_in(BatchError({batch[0]: first, -1: last}), batch) == {batch[0]: first, batch[2]: last}
    for wrong in (3, -4, True, received(b"0"), "0"):
        with pytest.raises(ConfigurationError, match="not in its batch"):
            named_in(BatchError({wrong: first}), batch)  # type: ignore[dict-item]
