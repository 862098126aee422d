"""Bytes of one direction of an AMQP 0-9-1 connection go in, whole frames come out; nothing is added, lost or reordered.

Pure: no sockets, no clock. What is not AMQP (TLS, any other protocol) comes out too, as frames of the kind `bytes`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

__all__ = ["ANY", "FRAME_KINDS", "METHOD_NAMES", "Frame", "FrameScanner", "check_kind"]

ANY: Final = "any"
PROTOCOL_HEADER: Final = "protocol-header"
BYTES: Final = "bytes"

_METHODS: Final[dict[str, tuple[int, str]]] = {
    "connection": (
        10,
        "10 start, 11 start-ok, 20 secure, 21 secure-ok, 30 tune, 31 tune-ok, 40 open, 41 open-ok, 50 close, "
        "51 close-ok, 60 blocked, 61 unblocked, 70 update-secret, 71 update-secret-ok",
    ),
    "channel": (20, "10 open, 11 open-ok, 20 flow, 21 flow-ok, 40 close, 41 close-ok"),
    "access": (30, "10 request, 11 request-ok"),
    "exchange": (
        40,
        "10 declare, 11 declare-ok, 20 delete, 21 delete-ok, 30 bind, 31 bind-ok, 40 unbind, 51 unbind-ok",
    ),
    "queue": (
        50,
        "10 declare, 11 declare-ok, 20 bind, 21 bind-ok, 30 purge, 31 purge-ok, 40 delete, 41 delete-ok, "
        "50 unbind, 51 unbind-ok",
    ),
    "basic": (
        60,
        "10 qos, 11 qos-ok, 20 consume, 21 consume-ok, 30 cancel, 31 cancel-ok, 40 publish, 50 return, 60 deliver, "
        "70 get, 71 get-ok, 72 get-empty, 80 ack, 90 reject, 100 recover-async, 110 recover, 111 recover-ok, 120 nack",
    ),
    "confirm": (85, "10 select, 11 select-ok"),
    "tx": (90, "10 select, 11 select-ok, 20 commit, 21 commit-ok, 30 rollback, 31 rollback-ok"),
}


def _method_names() -> dict[tuple[int, int], str]:
    names = {}
    for class_name, (class_id, methods) in _METHODS.items():
        for entry in methods.split(", "):
            method_id, method_name = entry.split(" ")
            names[class_id, int(method_id)] = f"{class_name}.{method_name}"
    return names


METHOD_NAMES: Final[dict[tuple[int, int], str]] = _method_names()
"""(class id, method id) to names such as `basic.ack`: AMQP 0-9-1 with RabbitMQ's extensions."""

_CONTENT_KINDS: Final[dict[int, str]] = {2: "header", 3: "body", 8: "heartbeat"}

FRAME_KINDS: Final[frozenset[str]] = frozenset(
    {PROTOCOL_HEADER, BYTES, *_CONTENT_KINDS.values(), *METHOD_NAMES.values()}
)
"""Every name that a frame's kind may have; a method that is not in METHOD_NAMES is called `method.<class>.<method>`."""

_METHOD_FRAME: Final = 1
_FRAME_HEAD: Final = struct.Struct(">BHI")  # type, channel, payload size: AMQP 0-9-1 section 4.2.3
_METHOD_HEAD: Final = struct.Struct(">HH")
_FRAME_END: Final = 0xCE
_PROTOCOL_HEADER_BYTES: Final = 8
_LARGEST_PAYLOAD: Final = 16 * 1024 * 1024  # far over any frame_max: a larger claim is not AMQP


def check_kind(kind: str) -> str:
    """Return `kind` if frames can be of that kind (or `any`); raise ValueError with the nearest names if not."""
    if kind == ANY or kind in FRAME_KINDS:
        return kind
    near = get_close_matches(kind, sorted(FRAME_KINDS), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "see rmqpool.testing.amqp_frames.FRAME_KINDS"
    raise ValueError(f"no frame is of the kind {kind!r}: {hint}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was on the wire.

    kind: `basic.ack`, `header`, `body`, `heartbeat`, `protocol-header`, or `bytes` for what is not a whole AMQP frame.
    channel: the channel's number; 0 for the connection and for what has no channel.
    raw: all its bytes, from the type octet to the frame-end octet.
    """

    kind: str
    channel: int
    raw: bytes

    def is_a(self, kind: str) -> bool:
        """Whether the frame counts as `kind`; `any` is every frame."""
        return kind in (ANY, self.kind)


class FrameScanner:
    """Cuts one direction of a connection into frames, however the bytes were split on their way.

    The first octets that cannot be AMQP end the scanning: they and all that follow come out at once, as kind `bytes`.
    Not thread-safe: one scanner belongs to one reader.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._at_start = True
        self._framed = True

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes; return the frames that are complete now, in order. An incomplete one is kept."""
        self._pending += data
        frames: list[Frame] = []
        offset = 0
        while self._framed and (frame := self._next_frame(offset)) is not None:
            frames.append(frame)
            offset += len(frame.raw)
        del self._pending[:offset]
        if not self._framed:
            frames += self.flush()
        return frames

    def flush(self) -> list[Frame]:
        """Return what is kept of an incomplete frame as one frame of the kind `bytes`; nothing if nothing is kept."""
        rest = bytes(self._pending)
        self._pending.clear()
        return [Frame(BYTES, 0, rest)] if rest else []

    def _next_frame(self, offset: int) -> Frame | None:
        if offset == len(self._pending):
            return None
        if self._at_start and self._pending[offset] == ord("A"):
            return self._protocol_header()
        self._at_start = False
        return self._amqp_frame(offset)

    def _protocol_header(self) -> Frame | None:
        start = bytes(self._pending[:_PROTOCOL_HEADER_BYTES])
        if not b"AMQP".startswith(start[:4]):
            self._framed = False
            return None
        if len(start) < _PROTOCOL_HEADER_BYTES:
            return None
        self._at_start = False
        return Frame(PROTOCOL_HEADER, 0, start)

    def _amqp_frame(self, offset: int) -> Frame | None:
        frame_type = self._pending[offset]
        if frame_type != _METHOD_FRAME and frame_type not in _CONTENT_KINDS:
            self._framed = False
            return None
        if len(self._pending) - offset < _FRAME_HEAD.size:
            return None
        _, channel, size = _FRAME_HEAD.unpack_from(self._pending, offset)
        if size > _LARGEST_PAYLOAD:
            self._framed = False
            return None
        end = offset + _FRAME_HEAD.size + size + 1
        if len(self._pending) < end:
            return None
        raw = bytes(self._pending[offset:end])
        kind = _kind(frame_type, raw)
        if kind is None:
            self._framed = False
            return None
        return Frame(kind, channel, raw)


def _kind(frame_type: int, raw: bytes) -> str | None:
    """The kind of a complete frame; None if it is malformed."""
    if raw[-1] != _FRAME_END:
        return None
    if frame_type != _METHOD_FRAME:
        return _CONTENT_KINDS[frame_type]
    if len(raw) < _FRAME_HEAD.size + _METHOD_HEAD.size + 1:
        return None
    class_id, method_id = _METHOD_HEAD.unpack_from(raw, _FRAME_HEAD.size)
    return METHOD_NAMES.get((class_id, method_id), f"method.{class_id}.{method_id}")
