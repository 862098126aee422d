"""The bytes that are written are those that pika itself would write, and what is read is what pika would read."""

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from rmqpool.amqp import wire
from rmqpool.amqp.wire import FRAME_OVERHEAD, encode_properties, marshal, marshal_batch, properties_of
from rmqpool.errors import MessageError, MessageTooLargeError
from rmqpool.message import Message

FRAME_MAX = 131072

short_text = st.text(max_size=60)
optional_text = st.none() | short_text
header_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3),
    max_leaves=8,
)
messages = st.builds(
    Message,
    exchange=short_text,
    routing_key=short_text,
    body=st.binary(max_size=300),
    message_id=short_text,
    mandatory=st.booleans(),
    content_type=optional_text,
    content_encoding=optional_text,
    headers=st.none() | st.dictionaries(st.text(min_size=1, max_size=10), header_values, max_size=4),
    delivery_mode=st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=optional_text,
    reply_to=optional_text,
    expiration=st.none() | st.integers(0, 10**9).map(str),
    timestamp=st.none() | st.integers(0, 2**40),
    type=optional_text,
    user_id=optional_text,
    app_id=optional_text,
)


def as_pika_writes_it(channel_number: int, message: Message, body_max: int) -> bytes:
    """Method, header and body frames marshalled by pika's own classes, split as pika's connection splits a body."""
    method = spec.Basic.Publish(
        exchange=message.exchange, routing_key=message.routing_key, mandatory=message.mandatory, immediate=False
    )
    frames: list[Any] = [
        frame.Method(channel_number, method),
        frame.Header(channel_number, len(message.body), properties_of(message)),
    ]
    frames += [
        frame.Body(channel_number, message.body[start : start + body_max])
        for start in range(0, len(message.body), body_max)
    ]
    return b"".join(bytes(one.marshal()) for one in frames)


@given(messages, st.integers(1, 65535), st.integers(1, 400))
def test_any_message_has_the_bytes_that_pika_writes(message: Message, channel: int, body_max: int) -> None:
    """Whatever its properties, headers, body size and the frame size."""
    ours = b"".join(marshal(channel, message, encode_properties(message, FRAME_MAX), body_max))
    assert ours == as_pika_writes_it(channel, message, body_max)


@dataclass
class Publish:
    """What the engine hands over."""

    message: Message
    header: bytes


@given(st.lists(messages, max_size=5), st.integers(1, 65535), st.integers(1, 400))
def test_a_batch_has_the_bytes_of_its_messages_one_after_the_other(
    batch: list[Message], channel: int, body_max: int
) -> None:
    """The loop for many is the same as the one for one."""
    publishes = [Publish(message, encode_properties(message, FRAME_MAX)) for message in batch]
    expected = b"".join(as_pika_writes_it(channel, message, body_max) for message in batch)
    assert marshal_batch(channel, publishes, body_max) == expected


@pytest.mark.parametrize("difference", [-1, 0, 1])
@pytest.mark.parametrize("frames", [1, 2])
def test_bodies_around_the_frame_size_are_split_as_pika_splits_them(frames: int, difference: int) -> None:
    """One byte less, exactly full, one byte more."""
    body_max = FRAME_MAX - FRAME_OVERHEAD
    message = Message("", "orders", bytes(body_max * frames + difference), "id")
    ours = b"".join(marshal(1, message, encode_properties(message, FRAME_MAX), body_max))
    assert ours == as_pika_writes_it(1, message, body_max)


def test_an_empty_body_has_no_body_frame() -> None:
    """AMQP 0-9-1, 2.3.5.2: a content of no bytes ends with its header frame."""
    message = Message("", "orders", b"", "id")
    ours = b"".join(marshal(1, message, encode_properties(message, FRAME_MAX), 100))
    assert ours == as_pika_writes_it(1, message, 100)
    assert ours.count(b"\xce") == 2


def test_what_pika_decodes_is_what_was_encoded() -> None:
    """The other direction, once: the frames are frames."""
    message = Message("events", "a.b", b"body", "id-7", headers={"x": 1}, priority=3, correlation_id="c")
    data = b"".join(marshal(5, message, encode_properties(message, FRAME_MAX), 100))
    decoded = []
    while data:
        size, value = frame.decode_frame(data)
        data = data[size:]
        decoded.append(value)
    method, header, body = decoded
    assert (method.channel_number, method.method.exchange, method.method.routing_key) == (5, "events", "a.b")
    assert method.method.mandatory is True
    assert (header.properties.message_id, header.properties.headers, header.properties.priority) == (
        "id-7",
        {"x": 1},
        3,
    )
    assert (header.body_size, body.fragment) == (4, b"body")


def test_headers_that_do_not_fit_into_a_frame_are_refused() -> None:
    """The broker would end the whole connection (501)."""
    message = Message("", "orders", b"", "id", headers={"big": "x" * 5000})
    with pytest.raises(MessageTooLargeError, match="one frame holds 4096") as caught:
        encode_properties(message, 4096)
    assert caught.value.field == "headers"


def test_the_largest_headers_that_fit_are_let_through() -> None:
    """The limit is the frame's size, to the byte."""
    without = len(encode_properties(Message("", "q", b"", "id", headers={"big": ""}), FRAME_MAX))
    room = 4096 - FRAME_OVERHEAD - 12 - without
    assert encode_properties(Message("", "q", b"", "id", headers={"big": "x" * room}), 4096)
    with pytest.raises(MessageTooLargeError):
        encode_properties(Message("", "q", b"", "id", headers={"big": "x" * (room + 1)}), 4096)


@pytest.mark.parametrize("headers", [{"x": object()}, {"x" * 300: 1}, {"x": 2**70}])
def test_headers_that_amqp_cannot_carry_are_refused(headers: dict[str, Any]) -> None:
    """With the message named, before anything is written."""
    with pytest.raises(MessageError, match="id-1") as caught:
        encode_properties(Message("", "orders", b"", "id-1", headers=headers), FRAME_MAX)
    assert caught.value.field == "headers"


tags = st.integers(0, 2**64 - 1)
channels = st.integers(1, 65535)


def pika_method(channel: int, method: Any) -> bytes:
    return bytes(frame.Method(channel, method).marshal())


@given(channels, tags, st.booleans(), st.booleans())
def test_settlements_have_the_bytes_that_pika_writes(channel: int, tag: int, multiple: bool, requeue: bool) -> None:
    """basic.ack, basic.nack and basic.reject."""
    basic = spec.Basic
    assert wire.marshal_ack(channel, tag, multiple) == pika_method(channel, basic.Ack(tag, multiple))
    assert wire.marshal_nack(channel, tag, multiple, requeue) == pika_method(
        channel, basic.Nack(tag, multiple, requeue)
    )
    assert wire.marshal_reject(channel, tag, requeue) == pika_method(channel, basic.Reject(tag, requeue))


@given(channels, short_text, st.booleans())
def test_a_get_has_the_bytes_that_pika_writes(channel: int, queue: str, auto_ack: bool) -> None:
    """basic.get."""
    assert wire.marshal_get(channel, queue, auto_ack) == pika_method(channel, spec.Basic.Get(0, queue, auto_ack))


def arguments_of(method: Any) -> bytes:
    return b"".join(method.encode())


@given(short_text, tags, st.booleans(), short_text, short_text)
def test_a_deliver_is_read_as_pika_reads_it(
    consumer: str, tag: int, redelivered: bool, exchange: str, routing_key: str
) -> None:
    """Names, tag and flag."""
    arguments = arguments_of(spec.Basic.Deliver(consumer, tag, redelivered, exchange, routing_key))
    assert wire.parse_deliver(arguments) == (consumer, tag, redelivered, exchange, routing_key)


@given(tags, st.booleans(), short_text, short_text, st.integers(0, 2**32 - 1))
def test_a_get_ok_is_read_as_pika_reads_it(
    tag: int, redelivered: bool, exchange: str, routing_key: str, left: int
) -> None:
    """With the count of what is left in the queue."""
    arguments = arguments_of(spec.Basic.GetOk(tag, redelivered, exchange, routing_key, left))
    assert wire.parse_get_ok(arguments) == (tag, redelivered, exchange, routing_key, left)


@given(st.integers(0, 65535), short_text, short_text, short_text)
def test_a_return_is_read_as_pika_reads_it(code: int, text: str, exchange: str, routing_key: str) -> None:
    """Reply code and text first."""
    arguments = arguments_of(spec.Basic.Return(code, text, exchange, routing_key))
    assert wire.parse_return(arguments) == (code, text, exchange, routing_key)


@given(messages)
def test_properties_that_were_encoded_are_read_again(message: Message) -> None:
    """Any of them, and any table of headers."""
    encoded = b"".join(properties_of(message).encode())
    assert wire.decode_properties(encoded).__dict__ == _decoded_by_pika(encoded)


def _decoded_by_pika(encoded: bytes) -> dict[str, Any]:
    properties = spec.BasicProperties()
    properties.decode(encoded)
    return dict(properties.__dict__)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_properties_raise_one_error_only(encoded: bytes) -> None:
    """Whatever pika's codec stumbles over."""
    with contextlib.suppress(wire.PropertiesError):
        assert wire.decode_properties(encoded).__dict__ == _decoded_by_pika(encoded)


@given(st.binary(max_size=12))
def test_arguments_that_are_cut_short_raise_one_error_only(arguments: bytes) -> None:
    """A broker that does that is broken; its words are not guessed."""
    for parse in (wire.parse_deliver, wire.parse_get_ok, wire.parse_return):
        with contextlib.suppress(wire.PropertiesError):
            assert len(parse(arguments)) >= 4
