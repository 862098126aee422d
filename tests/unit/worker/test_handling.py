"""Handling one delivery: what cannot be read is parked with what can, and one that is gone is not begun."""

from __future__ import annotations

from typing import Any

import pytest

from rmqpool import Delivery, Queue
from rmqpool.amqp import wire
from rmqpool.amqp.deliveries import Origin, receive
from rmqpool.codecs import DEFAULT_ACCEPT
from rmqpool.worker.failure import Failure
from rmqpool.worker.handling import Handling
from rmqpool.worker.later import Later
from rmqpool.worker.parking import ParkingPlace
from rmqpool.worker.registration import define
from rmqpool.worker.stats import Counters

UNREADABLE = b"\x30\x00\x00\x00\x00\xff\x01aS"  # headers that claim 255 bytes, and a delivery mode
ARGUMENTS = b"\x04ctag" + (5).to_bytes(8, "big") + b"\x00" + b"\x00" + b"\x06orders"


class ParkingLot:
    """Takes what would be parked."""

    def __init__(self) -> None:
        self.parked: list[tuple[Delivery, Failure]] = []

    def park(self, delivery: Delivery, failure: Failure, place: ParkingPlace) -> None:
        self.parked.append((delivery, failure))


class Broker:
    """A settler that takes everything."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []

    def settle(self, delivery: Delivery, verdict: str, *, requeue: bool = False) -> bool:
        self.verdicts.append(verdict)
        delivery.settled = verdict
        return True


def handle(function: Any, delivery: Delivery, *, is_current: bool = True) -> tuple[dict[str, int], ParkingLot]:
    """One handling: the counters that are not 0, and what was parked."""
    counters, lot = Counters(), ParkingLot()
    definition = define(
        function,
        "orders",
        declared_as=None,
        concurrency=1,
        prefetch=None,
        on_error="park",
        ack="auto",
        accept=DEFAULT_ACCEPT,
        redeclare=True,
    )
    place = ParkingPlace(Queue("orders.dead"), True, True, counters, lambda _: is_current)
    Handling(definition, counters, lot, place, Later("test"), lambda: False, _never).run(delivery)  # type: ignore[arg-type]
    return {name: count for name, count in counters.values().items() if count}, lot


def _never(delivery: Delivery) -> None:
    raise AssertionError(f"{delivery!r} was handed over again")


def unreadable() -> Delivery:
    """A delivery whose properties cannot be decoded."""
    (delivery,) = receive([(wire.DELIVER, ARGUMENTS, UNREADABLE, b"body")], Origin("orders", 1, 1), Broker())
    return delivery


@pytest.mark.parametrize("body_type", [dict, bytes, str])
def test_a_message_with_unreadable_properties_is_parked_undecoded(body_type: type) -> None:
    """The handler is not called; the body and the names stay, and everything else reads as absent."""
    called = []

    def function(body: Any) -> None:
        called.append(body)

    function.__annotations__["body"] = body_type
    counts, lot = handle(function, unreadable())
    ((delivery, failure),) = lot.parked
    assert (called, counts) == ([], {"undecodable": 1})
    assert failure.reason == "decode:properties"
    assert (delivery.body, delivery.routing_key, delivery.headers, delivery.attempt) == (b"body", "orders", {}, 1)
    assert delivery.settled == ""


def test_a_handler_that_reads_unreadable_properties_fails() -> None:
    """It asked for the delivery itself: its message is parked as for any exception."""

    def function(delivery: Delivery) -> None:
        print(delivery.headers)

    counts, lot = handle(function, unreadable())
    ((delivery, failure),) = lot.parked
    assert counts == {"failed": 1}
    assert failure.type == "rmqpool.errors.DecodeError"
    assert delivery.headers == {}


def test_a_handler_that_reads_nothing_handles_it() -> None:
    """Nobody asked what it cannot read."""

    def function(delivery: Delivery) -> None:
        assert delivery.body == b"body"

    counts, lot = handle(function, unreadable())
    assert (counts, lot.parked) == ({"handled": 1}, [])


def test_a_delivery_whose_channel_is_gone_is_not_begun() -> None:
    """It comes again: the handler would run twice."""

    def function(body: bytes) -> None:
        raise AssertionError("it must not be called")

    delivery = Delivery(b"", "", "orders", 1, False, "orders")
    counts, lot = handle(function, delivery, is_current=False)
    assert (counts, lot.parked) == ({"stale": 1}, [])
