"""One end of the socket pair between a worker and a child: values, pickled, each behind its length.

Pickle is sound here: both ends are the same program of the same user, and what a stranger wrote (the message) travels
inside as bytes.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
import threading
import time
from typing import Any

__all__ = ["Pipe"]

_LENGTH = struct.Struct(">Q")
_MOST = 2**32  # bytes; RabbitMQ takes no message of that size, so it is not ours
_CHUNK = 256 * 1024


class Pipe:
    """Sends and receives values. ``send`` is thread-safe; ``receive`` is for one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lock = threading.Lock()
        self._read = bytearray()

    def send(self, value: Any, timeout: float | None = None) -> None:
        """Send; TimeoutError if the other end did not take it within ``timeout`` seconds: the pipe is useless then."""
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._socket.settimeout(timeout)
            self._socket.sendall(_LENGTH.pack(len(data)))
            self._socket.sendall(data)

    def receive(self, timeout: float | None = None) -> Any:
        """The next value. TimeoutError if it was not there within ``timeout`` seconds (what came of it is kept);
        EOFError if there will be none.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._fill(_LENGTH.size, deadline)
        (length,) = _LENGTH.unpack_from(self._read)
        if length > _MOST:
            raise EOFError("somebody else wrote into the pipe")
        end = _LENGTH.size + length
        self._fill(end, deadline)
        with memoryview(self._read) as view:
            data = bytes(view[_LENGTH.size : end])
        del self._read[:end]
        try:
            return pickle.loads(data)
        except Exception as error:
            raise EOFError(f"what came through the pipe cannot be read: {error}") from error

    def close(self) -> None:
        """The other end reads the end of the file; so does a thread that is reading here. Idempotent."""
        with contextlib.suppress(OSError):  # the other end is gone, or this one is closed already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _fill(self, size: int, deadline: float | None) -> None:
        while len(self._read) < size:
            self._socket.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(_CHUNK)
            if not data:
                raise EOFError("the other end is closed")
            self._read += data
