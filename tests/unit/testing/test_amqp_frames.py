"""Promises of the frame scanner: nothing added, nothing lost, and the same frames however the bytes were split."""

from __future__ import annotations

import inspect
import struct
from itertools import groupby, pairwise

import pika.amqp_object
import pika.frame
import pika.spec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.testing.amqp_frames import FRAME_KINDS, METHOD_NAMES, Frame, FrameScanner, check_kind

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


def frame_bytes(frame_type: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", frame_type, channel, len(payload)) + payload + b"\xce"


def method_bytes(class_id: int, method_id: int, arguments: bytes = b"", channel: int = 1) -> bytes:
    return frame_bytes(1, channel, struct.pack(">HH", class_id, method_id) + arguments)


methods = st.builds(
    lambda ids, arguments, channel: method_bytes(ids[0], ids[1], arguments, channel),
    st.sampled_from(sorted(METHOD_NAMES)),
    st.binary(max_size=40),
    st.integers(0, 65535),
)
contents = st.builds(frame_bytes, st.sampled_from([2, 3]), st.integers(1, 65535), st.binary(max_size=60))
streams = st.builds(
    lambda header, parts: header + b"".join(parts),
    st.sampled_from([b"", PROTOCOL_HEADER]),
    st.lists(st.one_of(methods, contents, st.just(frame_bytes(8, 0, b"")))),
)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def scan(parts: list[bytes]) -> list[Frame]:
    scanner = FrameScanner()
    return [frame for part in parts for frame in scanner.feed(part)] + scanner.flush()


@given(streams, st.lists(st.integers(0, 2000)))
def test_any_split_gives_the_same_frames(stream: bytes, cuts: list[int]) -> None:
    """However TCP cuts the stream, the frames are those of the whole stream, and none is left over."""
    whole = scan([stream])
    assert scan(split(stream, cuts)) == whole
    assert "bytes" not in {frame.kind for frame in whole}


@given(streams)
def test_one_byte_at_a_time_gives_the_same_frames(stream: bytes) -> None:
    """The worst split of all: single bytes."""
    assert scan([stream[i : i + 1] for i in range(len(stream))]) == scan([stream])


@given(
    st.one_of(st.binary(max_size=300), st.builds(bytes.__add__, streams, st.binary(max_size=50))),
    st.lists(st.integers(0, 2000)),
)
def test_no_byte_is_added_or_lost_in_any_stream(stream: bytes, cuts: list[int]) -> None:
    """AMQP or not, the raw parts joined are the input."""
    assert b"".join(frame.raw for frame in scan(split(stream, cuts))) == stream


@given(st.binary(max_size=300), st.lists(st.integers(0, 2000)))
def test_where_amqp_ends_does_not_depend_on_the_split(stream: bytes, cuts: list[int]) -> None:
    """In a stream of anything, the same bytes count as frames, and the same as mere bytes."""

    def joined(parts: list[bytes]) -> list[tuple[str, bytes]]:
        runs = groupby(scan(parts), key=lambda frame: frame.kind)
        return [(kind, b"".join(frame.raw for frame in run)) for kind, run in runs]

    assert joined(split(stream, cuts)) == joined([stream])


@given(st.lists(st.one_of(methods, contents), min_size=1), st.data())
def test_a_frame_comes_out_with_its_last_byte_and_not_before(parts: list[bytes], data: st.DataObject) -> None:
    """A frame is held until it is whole, and no longer."""
    scanner = FrameScanner()
    for part in parts:
        cut = data.draw(st.integers(0, len(part) - 1))
        assert scanner.feed(part[:cut]) == []
        assert [frame.raw for frame in scanner.feed(part[cut:])] == [part]


def test_method_names_are_those_of_the_protocol() -> None:
    """Class and method numbers agree with pika's specification, which is generated from RabbitMQ's."""
    expected = {}
    for _, amqp_class in inspect.getmembers(pika.spec, inspect.isclass):
        for _, method in inspect.getmembers(amqp_class, inspect.isclass):
            if issubclass(amqp_class, pika.amqp_object.Class) and issubclass(method, pika.amqp_object.Method):
                class_name, method_name = method.NAME.split(".")
                dashed = "".join(f"-{c.lower()}" if c.isupper() else c for c in method_name).lstrip("-")
                expected[divmod(method.INDEX, 65536)] = f"{class_name.lower()}.{dashed}"
    assert expected == METHOD_NAMES


@pytest.mark.parametrize(
    ("raw", "kind", "channel"),
    [
        (pika.frame.ProtocolHeader().marshal(), "protocol-header", 0),
        (pika.frame.Method(7, pika.spec.Basic.Ack(3, True)).marshal(), "basic.ack", 7),
        (pika.frame.Method(0, pika.spec.Connection.Tune(2047, 131072, 60)).marshal(), "connection.tune", 0),
        (pika.frame.Header(2, 5, pika.spec.BasicProperties(message_id="a")).marshal(), "header", 2),
        (pika.frame.Body(2, b"hello").marshal(), "body", 2),
        (pika.frame.Heartbeat().marshal(), "heartbeat", 0),
        (method_bytes(60, 999), "method.60.999", 1),
    ],
)
def test_frames_that_pika_wrote_have_their_names(raw: bytes, kind: str, channel: int) -> None:
    """Frames of a real client are named; a method that nobody knows is named by its numbers."""
    assert FrameScanner().feed(raw) == [Frame(kind, channel, raw)]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00",  # a TLS ClientHello
        b"GET / HTTP/1.1\r\n",
        b"AMQZ",
        struct.pack(">BHI", 1, 0, 2**31),  # a frame that claims 2 GB
        frame_bytes(1, 0, b"\x00\x0a"),  # a method without a method id
        frame_bytes(3, 1, b"hello")[:-1] + b"\x00",  # no frame end
    ],
)
def test_what_is_not_amqp_comes_out_at_once(raw: bytes) -> None:
    """Another protocol is neither held back nor refused, and AMQP is not looked for any more."""
    scanner = FrameScanner()
    assert scanner.feed(raw) == [Frame("bytes", 0, raw)]
    assert scanner.feed(PROTOCOL_HEADER) == [Frame("bytes", 0, PROTOCOL_HEADER)]


def test_a_protocol_header_counts_at_the_start_only() -> None:
    """In the middle of a stream the same eight bytes are no frame."""
    frames = FrameScanner().feed(frame_bytes(8, 0, b"") + PROTOCOL_HEADER)
    assert [frame.kind for frame in frames] == ["heartbeat", "bytes"]


def test_an_unfinished_frame_is_flushed_as_bytes() -> None:
    """What a dying connection left half-sent is not lost."""
    scanner = FrameScanner()
    assert scanner.feed(b"\x01\x00") == []
    assert scanner.flush() == [Frame("bytes", 0, b"\x01\x00")]
    assert scanner.flush() == []


def test_a_frame_counts_as_its_kind_and_as_any() -> None:
    """`any` is every frame."""
    frame = Frame("basic.ack", 1, b"")
    assert (frame.is_a("basic.ack"), frame.is_a("any"), frame.is_a("basic.nack")) == (True, True, False)


def test_a_wrong_kind_is_refused_with_the_right_name() -> None:
    """A typing error in a test is told at once, with what was meant."""
    with pytest.raises(ValueError, match=r"'basic\.acks'.*did you mean .*basic\.ack"):
        check_kind("basic.acks")
    with pytest.raises(ValueError, match="FRAME_KINDS"):
        check_kind("#")
    assert {check_kind(kind) for kind in FRAME_KINDS} == FRAME_KINDS
