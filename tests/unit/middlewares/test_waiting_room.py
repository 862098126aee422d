"""What middleware remembers of deliveries that wait: one entry each, and never more than fit."""

from __future__ import annotations

from rmqpool import Delivery
from rmqpool.middlewares.waiting_room import WaitingRoom


def delivery(tag: int, epoch: int = 1) -> Delivery:
    """A delivery of one channel."""
    return Delivery(b"", "", "orders", tag, False, queue="orders", epoch=epoch)


def test_a_delivery_has_one_entry_until_it_leaves() -> None:
    """The same object each time; a tag of another connection is another delivery."""
    room: WaitingRoom[list[int]] = WaitingRoom(list)
    assert room.leave(delivery(1)) is None
    room.entry(delivery(1)).append(7)
    assert room.entry(delivery(1)) == [7]
    assert room.entry(delivery(1, epoch=2)) == []
    assert room.leave(delivery(1)) == [7]
    assert room.entry(delivery(1)) == []


def test_those_that_never_come_back_are_forgotten() -> None:
    """The oldest first: their channels are gone."""
    room: WaitingRoom[list[int]] = WaitingRoom(list)
    for tag in range(10_001):
        room.entry(delivery(tag)).append(tag)
    assert room.leave(delivery(0)) is None
    assert room.leave(delivery(1)) == [1]
