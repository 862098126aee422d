"""What an envelope promises: the same message, with the same bytes, as if it had been prepared alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.amqp.wire import encode_properties
from rmqpool.envelope import Envelope
from rmqpool.errors import MessageTooLargeError
from rmqpool.message import Message

FRAME_MAX = 131072
optional_text = st.none() | st.text(max_size=40)
messages = st.builds(
    Message,
    exchange=st.text(max_size=20),
    routing_key=st.text(max_size=20),
    body=st.binary(max_size=20),
    message_id=st.text(max_size=20),
    mandatory=st.booleans(),
    content_type=optional_text,
    content_encoding=optional_text,
    headers=st.none() | st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 9) | st.text(max_size=9)),
    delivery_mode=st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=optional_text,
    expiration=st.none() | st.just("1000"),
    timestamp=st.none() | st.integers(0, 2**40),
    type=optional_text,
    app_id=optional_text,
)
NAMES = [name for name in Message.__slots__ if name not in ("body", "message_id")]


def shared(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in NAMES}


@given(messages, st.binary(max_size=50))
def test_a_sealed_message_is_what_would_have_been_prepared_alone(message: Message, body: bytes) -> None:
    """Its own body and id, everything else as in the message that the envelope was made from; the same bytes."""
    sealed, header = Envelope(message, FRAME_MAX).seal(body)
    assert sealed.body == body
    assert shared(sealed) == shared(message)
    assert header == encode_properties(sealed, FRAME_MAX)


def test_each_message_has_an_id_of_its_own() -> None:
    """A thousand of one envelope."""
    envelope = Envelope(Message("", "orders", b"", ""), FRAME_MAX)
    assert len({envelope.seal(b"")[0].message_id for _ in range(1000)}) == 1000


def test_headers_too_large_for_a_frame_are_refused_before_anything_is_sealed() -> None:
    """By the envelope, once for all."""
    with pytest.raises(MessageTooLargeError):
        Envelope(Message("", "orders", b"", "", headers={"big": "x" * 5000}), 4096)
