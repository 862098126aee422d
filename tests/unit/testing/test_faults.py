"""Promises of the armed faults: each goes off once, at the frame or the byte it was armed for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.testing.amqp_frames import Frame
from rmqpool.testing.faults import ByteLimit, Cut, Direction, Network, directions

ACK = Frame("basic.ack", 1, b"")


def cut(frame: str = "basic.ack", nth: int = 1, direction: Direction = "from_broker") -> Cut:
    return Cut(frame, nth, direction, "before", "reset")


@given(
    st.lists(st.tuples(st.sampled_from(["basic.ack", "basic.nack", "body"]), st.sampled_from(directions(None)))),
    st.integers(1, 5),
)
def test_a_cut_goes_off_at_the_nth_frame_of_its_kind_and_direction(
    frames: list[tuple[str, Direction]], nth: int
) -> None:
    """Other kinds and the other direction do not count, and after it went off it is gone."""
    network = Network(cuts=[cut(nth=nth)])
    went_off = [i for i, (kind, way) in enumerate(frames) if network.cut_for(Frame(kind, 1, b""), way) is not None]
    matching = [i for i, frame in enumerate(frames) if frame == ("basic.ack", "from_broker")]
    assert went_off == matching[nth - 1 : nth]
    assert len(network.cuts) == (0 if went_off else 1)


def test_any_counts_every_frame() -> None:
    """A cut at the second frame of any kind."""
    network = Network(cuts=[cut("any", nth=2)])
    assert network.cut_for(Frame("heartbeat", 0, b""), "from_broker") is None
    assert network.cut_for(ACK, "from_broker") is not None


def test_two_cuts_for_one_frame_go_off_one_after_the_other() -> None:
    """The elder takes the frame; the other one the next of its kind."""
    elder, younger = cut(), cut()
    network = Network(cuts=[elder, younger])
    assert network.cut_for(ACK, "from_broker") is elder
    assert network.cut_for(ACK, "from_broker") is younger


@given(st.integers(0, 500), st.lists(st.integers(1, 100)))
def test_a_byte_limit_lets_exactly_its_bytes_pass(count: int, writes: list[int]) -> None:
    """Whatever the sizes of the writes, the bytes that pass are those allowed, and not one more."""
    limit = ByteLimit(count, "to_broker")
    passed = [limit.take(size) for size in writes]
    assert sum(passed) == min(count, sum(writes))
    assert limit.spent == (sum(writes) >= count)
    assert all(allowed <= size for allowed, size in zip(passed, writes, strict=True))


def test_a_byte_limit_holds_for_its_direction_only() -> None:
    """The other direction has none."""
    limit = ByteLimit(1, "to_broker")
    network = Network(limits=[limit])
    assert network.limit_for("to_broker") is limit
    assert network.limit_for("from_broker") is None


def test_heal_takes_every_fault_back() -> None:
    """A healed network is a new one."""
    network = Network(
        1.0, 2, 3.0, frozenset({"to_broker"}), frozenset({"to_broker"}), 4, [cut()], [ByteLimit(1, "to_broker")]
    )
    network.heal()
    assert network == Network()


def test_an_armed_fault_tells_what_it_is_and_whether_it_fired() -> None:
    """The repr is what a failing test prints."""
    fault = cut(nth=3)
    assert repr(fault) == "<Cut reset before basic.ack #3 from_broker, armed>"
    assert not fault.wait(timeout=0)
    fault.mark_fired()
    assert fault.fired
    assert fault.wait(timeout=0)
    assert repr(fault).endswith("fired>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("basic.akc", 1, "from_broker", "before", "reset"), "did you mean basic.ack"),
        (("basic.ack", 0, "from_broker", "before", "reset"), "the first frame is 1"),
        (("basic.ack", 1, "upwards", "before", "reset"), "to_broker, from_broker"),
        (("basic.ack", 1, "from_broker", "during", "reset"), "before, after"),
        (("basic.ack", 1, "from_broker", "before", "explode"), "reset, close, blackhole, drop"),
        (("basic.ack", 1, "from_broker", "after", "drop"), "before"),
    ],
)
def test_a_cut_that_makes_no_sense_is_refused(arguments: Any, message: str) -> None:
    """A wrong name would be a fault that never goes off and a test that proves nothing."""
    with pytest.raises(ValueError, match=message):
        Cut(*arguments)


def test_wrong_directions_and_byte_counts_are_refused() -> None:
    """The same for the other faults."""
    wrong: Any = "upwards"
    with pytest.raises(ValueError, match="to_broker, from_broker"):
        directions(wrong)
    with pytest.raises(ValueError, match="to_broker, from_broker"):
        ByteLimit(1, wrong)
    with pytest.raises(ValueError, match="negative"):
        ByteLimit(-1, "to_broker")
