"""The pipe between a worker and a child: whole values or nothing, and never a wait without an end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmqpool.worker.children.pipe import Pipe

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=1000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, socket.socket]]:
    """A pipe, and the raw other end of it."""
    ours, other = socket.socketpair()
    pipe = Pipe(ours)
    with other:
        yield pipe, other
    pipe.close()


@given(st.lists(VALUES, max_size=8))
@settings(max_examples=50)
def test_values_arrive_in_order_as_they_were(values):
    """Also several in one read."""
    ours, other = socket.socketpair()
    here, there = Pipe(ours), Pipe(other)
    try:
        for value in values:
            here.send(value, 5)
        assert [there.receive(5) for _ in values] == values
    finally:
        here.close()
        there.close()


def test_a_value_larger_than_the_sockets_buffer_arrives():
    """In parts."""
    ours, other = socket.socketpair()
    here, there = Pipe(ours), Pipe(other)
    body = b"x" * 20_000_000
    sender = threading.Thread(target=here.send, args=(body, 10))
    sender.start()
    assert there.receive(10) == body
    sender.join()
    here.close()
    there.close()


def test_half_a_value_is_kept_until_the_rest_is_there(ends):
    """A timeout in the middle loses nothing."""
    pipe, other = ends
    ours, raw = socket.socketpair()
    sender = Pipe(ours)
    sender.send({"id": 7}, 5)
    data = raw.recv(1000)
    other.sendall(data[:11])
    with pytest.raises(TimeoutError):
        pipe.receive(0.05)
    other.sendall(data[11:])
    assert pipe.receive(5) == {"id": 7}
    sender.close()
    raw.close()


def test_an_end_is_told_and_rubbish_is_an_end_too(ends):
    """Whatever a handler writes into a socket that is not its own."""
    pipe, other = ends
    other.sendall((5).to_bytes(8, "big") + b"hello")
    with pytest.raises(EOFError, match="cannot be read"):
        pipe.receive(5)
    other.sendall(b"\xff" * 8)
    with pytest.raises(EOFError, match="somebody else"):
        pipe.receive(5)
    other.close()
    ours, gone = socket.socketpair()
    gone.close()
    closed = Pipe(ours)
    with pytest.raises(EOFError, match="closed"):
        closed.receive(5)
    closed.close()
    closed.close()


def test_nobody_who_reads_is_no_hang(ends):
    """A child that takes nothing."""
    pipe, _ = ends
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        pipe.send(b"x" * 20_000_000, 0.2)
    assert time.monotonic() - start < 30
