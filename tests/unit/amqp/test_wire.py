"""The bytes of a publish are those that pika itself would write, for any message."""

from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.wire import (
    FRAME_OVERHEAD,
    encode_properties,
    has_fast_path,
    leading_acks,
    marshal,
    properties_of,
)
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


def test_this_pika_has_the_private_names_of_the_fast_path() -> None:
    """pika's minor version is pinned; this fails first when a new one moves them."""
    assert callable(Connection._adapter_emit_data)
    assert "_body_max_length" in pika.connection.Connection.__init__.__code__.co_names or hasattr(
        pika.connection.Connection, "_body_max_length"
    )


def test_without_the_private_names_there_is_no_fast_path() -> None:
    """The engine falls back to pika's own publish then."""
    assert not has_fast_path(object())


acks = st.builds(
    lambda channel, tag, multiple: frame.Method(channel, spec.Basic.Ack(tag, multiple)),
    st.sampled_from([1, 1, 1, 2]),
    st.integers(0, 2**63),
    st.booleans(),
)
other_frames = st.sampled_from(
    [
        frame.Heartbeat(),
        frame.Method(1, spec.Basic.Nack(7, False, False)),
        frame.Method(1, spec.Basic.Return(312, "NO_ROUTE", "", "orders")),
        frame.Body(1, b"\x01\x00\x01" * 9),
    ]
)


def decoded(data: bytes) -> list[Any]:
    """The whole frames in it, as pika decodes them."""
    frames = []
    while data:
        size, value = frame.decode_frame(data)
        if value is None:
            break
        frames.append(value)
        data = data[size:]
    return frames


@given(st.lists(acks | other_frames, max_size=8), st.integers(0, 40))
def test_leading_acks_are_those_that_pika_would_read_first(frames: list[Any], cut: int) -> None:
    """Up to the first frame of another kind, of another channel, or that is not whole; never one that comes later."""
    whole = b"".join(bytes(one.marshal()) for one in frames)
    data = whole[: max(0, len(whole) - cut)]
    expected = []
    for one in decoded(data):
        if not (isinstance(one, frame.Method) and one.channel_number == 1 and isinstance(one.method, spec.Basic.Ack)):
            break
        expected.append((one.method.delivery_tag, one.method.multiple))
    found, size = leading_acks(data, 1)
    assert found == expected
    assert size == sum(len(frame.Method(1, spec.Basic.Ack(*ack)).marshal()) for ack in expected)
