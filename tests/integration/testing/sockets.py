"""What a peer sees on its socket."""

from __future__ import annotations

import select
import socket

import pytest

TIMEOUT = 5.0


QUIET = 0.2  # seconds in which nothing must arrive


def receive(sock: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes, or what came before the end of the stream."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def is_silent(sock: socket.socket) -> bool:
    """Whether nothing arrives for a while: neither bytes nor an end."""
    return not select.select([sock], [], [], QUIET)[0]


def assert_reset(sock: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
