"""A client that says just what a test wants, frame by frame, over an agent's socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from pika import frame, spec

from rmqpool.amqp.wire import encode_properties, marshal
from rmqpool.message import Message

__all__ = ["RawClient", "publish_frames"]

PATIENCE = 60.0  # seconds: for a machine that is much slower
HEADER = b"AMQP\x00\x00\x09\x01"


def publish_frames(number: int, routing_key: str, body: bytes, message_id: str = "raw") -> bytes:
    """All frames of a publish to the default exchange."""
    message = Message("", routing_key, body, message_id)
    return b"".join(marshal(number, message, encode_properties(message, 131072), 131064))


class RawClient:
    """Connected when made. A context manager: the socket is closed at the end, without a word."""

    def __init__(self, path: Path, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self._rest = b""

    def shake_hands(self, heartbeat: int = 0) -> RawClient:
        """Until connection.open-ok."""
        self.socket.sendall(HEADER)
        self.expect(spec.Connection.Start)
        self.say(0, spec.Connection.StartOk({"connection_name": "raw"}, "PLAIN", "\0any\0thing", "en_US"))
        tune = self.expect(spec.Connection.Tune)
        self.say(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, heartbeat))
        self.say(0, spec.Connection.Open("/"))
        self.expect(spec.Connection.OpenOk)
        return self

    def open(self, number: int, *, confirms: bool = False) -> RawClient:
        """A channel."""
        self.say(number, spec.Channel.Open())
        self.expect(spec.Channel.OpenOk)
        if confirms:
            self.say(number, spec.Confirm.Select())
            self.expect(spec.Confirm.SelectOk)
        return self

    def say(self, number: int, method: Any) -> None:
        """A method."""
        self.socket.sendall(frame.Method(number, method).marshal())

    def expect(self, kind: Any) -> Any:
        """The next method, of that kind."""
        while True:
            told = self.next_frame()
            if isinstance(told, frame.Method):
                assert isinstance(told.method, kind), told.method
                return told.method

    def next_frame(self) -> Any:
        """Any frame; None at the end."""
        while True:
            size, value = frame.decode_frame(self._rest)
            if value is not None:
                self._rest = self._rest[size:]
                return value
            data = self.socket.recv(65536)
            if not data:
                return None
            self._rest += data

    def wait_end(self) -> None:
        """Read until the other side closes."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
