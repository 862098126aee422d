"""Where pika reads the frames, what cannot be one is found as soon as it is there, however the stream is split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.amqp.frame_guard import FrameGuard
from rmqpool.amqp.frame_reader import MalformedFrameError

frames = st.builds(
    lambda kind, channel, payload: (
        bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"
    ),
    st.sampled_from([1, 2, 3, 8]),
    st.integers(0, 65535),
    st.binary(max_size=50),
)


def feed(data: bytes, sizes: list[int]) -> None:
    guard = FrameGuard(4096)
    while data:
        size = sizes.pop(0) if sizes else len(data)
        guard.feed(data[:size])
        data = data[size:]


@given(st.lists(frames, max_size=10), st.lists(st.integers(1, 20), max_size=30))
def test_frames_pass_however_they_are_split(given_frames: list[bytes], sizes: list[int]) -> None:
    """Nothing true is ever refused."""
    feed(b"".join(given_frames), sizes)


@given(st.lists(frames, max_size=5), frames, st.lists(st.integers(1, 20), max_size=30), st.integers(0, 254))
def test_a_frame_without_its_end_is_refused(before: list[bytes], last: bytes, sizes: list[int], end: int) -> None:
    """Whatever else stands there."""
    wrong = last[:-1] + bytes([end if end != 0xCE else 0])
    with pytest.raises(MalformedFrameError, match="ends with"):
        feed(b"".join([*before, wrong]), sizes)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"HTTP/1.1 400 Bad Request", "type 72"), (b"\x01\0\0\x80\0\0\0", "claims 2147483648 bytes")],
    ids=["another protocol", "a frame of 2 GB"],
)
def test_what_is_no_frame_is_refused_at_its_head(data: bytes, words: str) -> None:
    """Before anybody waits for the rest of it."""
    with pytest.raises(MalformedFrameError, match=words):
        feed(data, [1] * 7)


def test_a_broker_of_another_protocol_version_is_pikas_to_explain() -> None:
    """It answers with its own protocol header."""
    feed(b"AMQP\0\1\0\0 and whatever follows", [3, 3])
