"""The frame reader finds what pika's own decoder finds, wherever the stream is split; what is no AMQP it never believes."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from rmqpool.amqp import wire
from rmqpool.amqp.frame_reader import Answer, FrameReader, MalformedFrameError

LISTENED, OTHER = (1, 2), 7
BODY_MAX = 20  # bytes a body frame: bodies of up to three frames stay small


@dataclass
class Listener:
    """Writes down what it is given."""

    heard: list[Any] = field(default_factory=list)

    def on_contents(self, contents: list[wire.Content]) -> None:
        self.heard += [("content", *content) for content in contents]

    def on_answers(self, answers: list[Answer]) -> None:
        self.heard += [("answer", *answer) for answer in answers]


class Reading:
    """A reader with two channels that are listened to; everything else is passed on."""

    def __init__(self) -> None:
        self.passed_on: list[Any] = []
        self.reader = FrameReader(self.passed_on.append)
        self.listeners = {number: Listener() for number in LISTENED}
        for number, listener in self.listeners.items():
            self.reader.listen(number, listener)

    def feed(self, parts: Sequence[bytes]) -> None:
        for part in parts:
            self.reader.feed(part)

    def heard(self) -> dict[int, list[Any]]:
        return {number: listener.heard for number, listener in self.listeners.items()}


# What a broker may send

names = st.text(max_size=8)
tags = st.integers(0, 2**64 - 1)
tables = st.dictionaries(
    st.text(min_size=1, max_size=6),
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | names | st.lists(st.integers(0, 9), max_size=2),
    max_size=3,
)
properties = st.builds(
    pika.BasicProperties,
    content_type=st.none() | names,
    headers=st.none() | tables,
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    message_id=st.none() | names,
    timestamp=st.none() | st.integers(0, 2**40),
)
content_methods = st.one_of(
    st.builds(spec.Basic.Deliver, names, tags, st.booleans(), names, names),
    st.builds(spec.Basic.Return, st.integers(0, 600), names, names, names),
    st.builds(spec.Basic.GetOk, tags, st.booleans(), names, names, st.integers(0, 99)),
)
answers = st.one_of(
    st.builds(spec.Basic.Ack, tags, st.booleans()), st.builds(spec.Basic.Nack, tags, st.booleans(), st.booleans())
)
rare_methods = st.one_of(
    st.builds(spec.Basic.CancelOk, names),
    st.builds(spec.Basic.QosOk),
    st.builds(spec.Channel.Close, st.integers(0, 600), names, st.just(0), st.just(0)),
    st.builds(spec.Queue.DeclareOk, names, st.integers(0, 99), st.integers(0, 99)),
)


@dataclass
class Event:
    """One thing that the broker does on a channel: its frames, as pika marshals them, and what is to be heard of it."""

    channel: int
    frames: list[bytes]
    heard: Any = None


def _content(channel: int, method: Any, carried: Any, body: bytes) -> Event:
    frames = [frame.Method(channel, method), frame.Header(channel, len(body), carried)]
    frames += [frame.Body(channel, body[start : start + BODY_MAX]) for start in range(0, len(body), BODY_MAX)]
    heard = ("content", method.INDEX, b"".join(method.encode()), b"".join(carried.encode()), body)
    return Event(channel, [bytes(one.marshal()) for one in frames], heard if channel in LISTENED else None)


def _answer(channel: int, method: Any) -> Event:
    heard = ("answer", method.delivery_tag, method.multiple, method.NAME == "Basic.Ack")
    return Event(channel, [bytes(frame.Method(channel, method).marshal())], heard if channel in LISTENED else None)


def _rare(channel: int, method: Any) -> Event:
    return Event(channel, [bytes(frame.Method(channel, method).marshal())])


any_channel = st.sampled_from([*LISTENED, OTHER])
events = st.one_of(
    st.builds(_content, any_channel, content_methods, properties, st.binary(max_size=3 * BODY_MAX)),
    st.builds(_answer, any_channel, answers),
    st.builds(_rare, any_channel, rare_methods),
    st.builds(lambda: Event(0, [bytes(frame.Heartbeat().marshal())])),
)


def interleave(draw: st.DrawFn, happened: list[Event]) -> list[bytes]:
    """The frames of all events: in order on each channel, channels mixed frame by frame."""
    queues = {event.channel: [] for event in happened}
    for event in happened:
        queues[event.channel] += event.frames
    frames: list[bytes] = []
    while queues:
        channel = draw(st.sampled_from(sorted(queues)))
        frames.append(queues[channel].pop(0))
        if not queues[channel]:
            del queues[channel]
    return frames


def split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Any parts of it, as reads may bring them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return [part for part in parts if part]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Event], list[bytes], list[bytes]]:
    """What happened, its frames in the order of the wire, and the reads."""
    happened = draw(st.lists(events, max_size=8))
    frames = interleave(draw, happened)
    return happened, frames, split(draw, b"".join(frames))


def decoded(frames: Sequence[bytes]) -> list[Any]:
    return [frame.decode_frame(one)[1] for one in frames]


def shown(value: Any) -> tuple[Any, ...]:
    """A frame of pika's as something that can be compared."""
    inside = getattr(value, "method", None) or getattr(value, "properties", None)
    details = inside.__dict__ if inside is not None else getattr(value, "fragment", None)
    return type(value).__name__, value.channel_number, getattr(inside, "NAME", ""), repr(details)


def for_pika(frames: Sequence[bytes]) -> list[bytes]:
    """Those that are not the reader's own: of other channels, and rare methods."""
    own = (wire.ACK, wire.NACK, *wire.CONTENT_METHODS)
    return [
        one
        for one in frames
        if int.from_bytes(one[1:3], "big") not in LISTENED
        or (one[0] == 1 and int.from_bytes(one[7:11], "big") not in own)
        or one[0] == 8
    ]


@given(streams())
def test_what_is_heard_is_what_the_broker_sent(stream: tuple[list[Event], list[bytes], list[bytes]]) -> None:
    """Any frames, any split, any interleaving: every message and answer once, whole, in the order of its channel."""
    happened, frames, reads = stream
    reading = Reading()
    reading.feed(reads)
    for number in LISTENED:
        assert reading.heard()[number] == [event.heard for event in happened if event.channel == number and event.heard]
    assert [shown(one) for one in reading.passed_on] == [shown(one) for one in decoded(for_pika(frames))]


@given(streams(), st.data())
def test_nothing_is_heard_before_it_is_complete(
    stream: tuple[list[Event], list[bytes], list[bytes]], data: st.DataObject
) -> None:
    """A stream that stops anywhere: what is heard is what is whole in it."""
    happened, frames, _ = stream
    everything = b"".join(frames)
    length = data.draw(st.integers(0, len(everything)))
    reading = Reading()
    reading.feed([everything[:length]] if length else [])
    whole = 0
    position = 0
    for one in frames:
        position += len(one)
        whole += position <= length
    complete = dict.fromkeys(LISTENED, 0)
    for number in LISTENED:
        left = sum(1 for one in frames[:whole] if int.from_bytes(one[1:3], "big") == number)
        for event in (event for event in happened if event.channel == number):
            left -= len(event.frames)
            if left < 0:
                break
            complete[number] += event.heard is not None
        assert len(reading.heard()[number]) == complete[number]


# What is no AMQP


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_random_bytes_end_in_one_error_or_in_waiting(parts: list[bytes]) -> None:
    """Never another exception, and never for long: a frame larger than frame_max is not waited for."""
    reading = Reading()
    with contextlib.suppress(MalformedFrameError):
        reading.feed(parts)
    assert reading.reader._need <= reading.reader.frame_max


@given(streams(), st.data())
def test_a_damaged_stream_is_believed_up_to_the_damage(
    stream: tuple[list[Event], list[bytes], list[bytes]], data: st.DataObject
) -> None:
    """One byte of a frame's head or end mark is wrong: what came before is heard as it was, and nothing is made up."""
    happened, frames, _ = stream
    if not frames:
        return
    index = data.draw(st.integers(0, len(frames) - 1))
    damaged = bytearray(frames[index])
    place = data.draw(st.sampled_from([0, len(damaged) - 1]))
    damaged[place] ^= data.draw(st.sampled_from([0x10, 0x20, 0x40, 0x80]))
    reading = Reading()
    with pytest.raises(MalformedFrameError):
        reading.feed([b"".join([*frames[:index], bytes(damaged), *frames[index + 1 :]])])
    for number in LISTENED:
        expected = [event.heard for event in happened if event.channel == number and event.heard]
        assert reading.heard()[number] == expected[: len(reading.heard()[number])]


@given(streams(), st.data())
def test_a_frame_that_is_missing_or_doubled_never_makes_a_wrong_message(
    stream: tuple[list[Event], list[bytes], list[bytes]], data: st.DataObject
) -> None:
    """Every message that is heard is one that was sent, byte for byte."""
    happened, frames, _ = stream
    if not frames:
        return
    index = data.draw(st.integers(0, len(frames) - 1))
    doubled = data.draw(st.booleans())
    changed = frames[:index] + ([frames[index]] * 2 if doubled else []) + frames[index + 1 :]
    reading = Reading()
    with contextlib.suppress(MalformedFrameError):
        reading.feed([b"".join(changed)])
    for number in LISTENED:
        sent = [event.heard for event in happened if event.channel == number and event.heard]
        bodies_can_tell = all(len(one[4]) <= BODY_MAX for one in sent if one[0] == "content")
        if bodies_can_tell:  # one frame of a larger body may stand in for another of the same size: no codec can tell
            assert all(one in sent for one in reading.heard()[number])


DELIVER = bytes(frame.Method(1, spec.Basic.Deliver("c", 1, False, "", "q")).marshal())
HEADER = bytes(frame.Header(1, 4, pika.BasicProperties()).marshal())
BODY = bytes(frame.Body(1, b"body").marshal())
ACK = bytes(frame.Method(1, spec.Basic.Ack(1, False)).marshal())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (HEADER, "without a message"),
        (BODY, "without a header"),
        (DELIVER + BODY, "without a header"),
        (DELIVER + HEADER + HEADER, "without a message"),
        (DELIVER + DELIVER, "in the middle of a message"),
        (DELIVER + HEADER + ACK, "in the middle of a message"),
        (DELIVER + HEADER + bytes(frame.Body(1, b"bodies").marshal()), "2 bytes more"),
        (DELIVER[:-1] + b"\xcf", "end mark"),
        (b"\x05" + DELIVER[1:], "unknown type 5"),
        (b"\x01\x00\x01\x7f\xff\xff\xff" + bytes(20), "claims 2147483647 bytes"),
        (b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x99\x99\xce", "cannot be decoded"),
        (b"\x02\x00\x01\x00\x00\x00\x02\x00\x3c\xce", "without a message"),
        (DELIVER + b"\x02\x00\x01\x00\x00\x00\x02\x00\x3c\xce", "14 is the least"),
        (DELIVER + bytes([2, 0, 1, 0, 0, 0, 14, 0, 10, 0, 0]) + bytes(8) + b"\x00\x00\xce", "class 10"),
        (b"HTTP/1.1 400 Bad Request\r\n", "unknown type 72"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, what: str) -> None:
    """One error, with a sentence; and no message."""
    reading = Reading()
    with pytest.raises(MalformedFrameError, match=what):
        reading.feed([data])
    assert reading.heard() == {number: [] for number in LISTENED}


def test_the_agreed_frame_size_is_the_limit() -> None:
    """To the byte."""
    reading = Reading()
    reading.reader.frame_max = 100
    fits = bytes(frame.Body(OTHER, bytes(92)).marshal())
    reading.feed([fits])
    assert len(reading.passed_on) == 1
    with pytest.raises(MalformedFrameError, match="frame_max is 100"):
        reading.feed([bytes(frame.Body(OTHER, bytes(93)).marshal())[:20]])


def test_a_protocol_header_is_pikas() -> None:
    """A broker of another protocol version answers with eight bytes and hangs up."""
    reading = Reading()
    reading.feed([b"AMQ", b"P\x00\x00\x09\x01"])
    assert isinstance(reading.passed_on[0], frame.ProtocolHeader)


def test_what_came_before_a_rare_frame_is_heard_before_it() -> None:
    """Deliveries, then the broker's basic.cancel: never the other way round."""
    order: list[str] = []
    reader = FrameReader(lambda value: order.append(value.method.NAME))

    class Ordered(Listener):
        def on_contents(self, contents: list[wire.Content]) -> None:
            order.append("content")

    reader.listen(1, Ordered())
    cancel = bytes(frame.Method(1, spec.Basic.Cancel("c", False)).marshal())
    reader.feed(DELIVER + HEADER + BODY + cancel + DELIVER + HEADER + BODY)
    assert order == ["content", "Basic.Cancel", "content"]


def test_after_stop_nothing_more_is_heard() -> None:
    """Not even what was read already: its connection is over."""
    heard: list[wire.Content] = []

    class Stopping(Listener):
        def on_contents(self, contents: list[wire.Content]) -> None:
            heard.extend(contents)
            reader.stop()

    passed_on: list[Any] = []
    reader = FrameReader(passed_on.append)
    reader.listen(1, Stopping())
    rare = bytes(frame.Method(1, spec.Basic.QosOk()).marshal())
    reader.feed(DELIVER + HEADER + BODY + rare + DELIVER + HEADER + BODY)
    reader.feed(DELIVER + HEADER + BODY)
    assert (len(heard), passed_on) == (1, [])


def test_a_large_frame_in_small_reads_is_put_together_once() -> None:
    """A thousand reads for one frame: not a thousand copies of it."""
    body = bytes(100_000)
    data = DELIVER + bytes(frame.Header(1, len(body), pika.BasicProperties()).marshal())
    data += bytes(frame.Body(1, body).marshal())
    reading = Reading()
    reading.feed([data[start : start + 100] for start in range(0, len(data), 100)])
    assert [one[4] for one in reading.heard()[1]] == [body]
