"""One pass over what was read: acks and messages of listening channels are handed over in batches, every other frame to pika.

No socket, no clock: bytes in, calls out. What cannot be AMQP raises :class:`MalformedFrameError` at the byte where it is
found, and nothing behind it is believed (AMQP 0-9-1, 2.3.5 and 4.2.3). A frame may be split anywhere between two reads, and
channels may be interleaved frame by frame; a message is handed over when its last body frame is there, never before.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

from pika import exceptions as pika_exceptions
from pika import frame

from rmqpool.amqp.wire import ACK, BASIC_CLASS, CONTENT_METHODS, FRAME_END, FRAME_OVERHEAD, NACK, Content

__all__ = [
    "FRAME_HEAD",
    "KINDS",
    "PROTOCOL_HEADER",
    "Answer",
    "ChannelListener",
    "FrameReader",
    "FrameSink",
    "MalformedFrameError",
]

Answer = tuple[int, bool, bool]
"""basic.ack or basic.nack: delivery tag, multiple, and whether it is an ack."""

FrameSink = Callable[[int, int, bytes], None]
"""Takes a frame of a channel: the channel's number, the frame's type, the whole frame with its head and end mark."""

FRAME_HEAD = struct.Struct(">BHI")  # type, channel, payload size
_HEADER_HEAD = struct.Struct(">BHIHHQ")  # the same; class, weight, body size
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
PROTOCOL_HEADER = b"AMQP"
KINDS = (_METHOD, _HEADER, _BODY, _HEARTBEAT)
_HEADER_SIZE = 14  # bytes of a header frame's payload at least: class, weight, body size, property flags
_ANSWER_SIZE = 13  # bytes of the payload of basic.ack and basic.nack: method, delivery tag, bits
_FIRST_FRAMES = 131072  # bytes: until a limit was agreed on


class MalformedFrameError(Exception):
    """These bytes are not AMQP: the rest of the stream means nothing any more."""


class ChannelListener(Protocol):
    """What hears a channel's messages and confirms, on the I/O thread. It contains its own errors."""

    def on_contents(self, contents: list[Content]) -> None:
        """Complete messages (basic.deliver, basic.return, basic.get-ok), in the order in which they came."""
        ...

    def on_answers(self, answers: list[Answer]) -> None:
        """basic.ack and basic.nack, in the order in which they came; never reordered with returns."""
        ...


class _Begun:
    """A message of which the last body frame is not there yet."""

    __slots__ = ("arguments", "method", "missing", "parts", "properties")

    def __init__(self, method: int, arguments: bytes) -> None:
        self.method = method
        self.arguments = arguments
        self.properties: bytes | None = None  # None: the header frame comes next
        self.missing = 0  # bytes of the body
        self.parts: list[bytes] = []


class _Listening:
    """A channel whose frames are read here, and what waits for its listener."""

    __slots__ = ("answers", "begun", "contents", "listener")

    def __init__(self, listener: ChannelListener) -> None:
        self.listener = listener
        self.contents: list[Content] = []
        self.answers: list[Answer] = []
        self.begun: _Begun | None = None

    def flush(self) -> None:
        """Hand over what waits; only one of the two lists holds anything, so the order is that of the wire."""
        if self.contents:
            contents, self.contents = self.contents, []
            self.listener.on_contents(contents)
        elif self.answers:
            answers, self.answers = self.answers, []
            self.listener.on_answers(answers)


class FrameReader:
    """Reads the byte stream of one connection. ``pass_on`` gets pika's frame objects for everything not listened to.

    ``frame_max`` (bytes) is the limit that was agreed on with the broker: a larger frame is malformed, and not waited for.
    """

    def __init__(self, pass_on: Callable[[Any], None]) -> None:
        self._largest = _FIRST_FRAMES - FRAME_OVERHEAD  # bytes of a payload
        self._pass_on = pass_on
        self._channels: dict[int, _Listening] = {}
        self._parts: list[bytes] = []  # of a frame that is not complete
        self._have = 0
        self._need = 0
        self._stopped = False
        self._sink: FrameSink | None = None

    @property
    def frame_max(self) -> int:
        """Bytes that a frame may have, its head and end mark counted."""
        return self._largest + FRAME_OVERHEAD

    @frame_max.setter
    def frame_max(self, size: int) -> None:
        self._largest = size - FRAME_OVERHEAD

    def listen(self, channel_number: int, listener: ChannelListener) -> None:
        """Messages and confirms of this channel go to ``listener`` from here on, and no longer to pika's channel."""
        self._channels[channel_number] = _Listening(listener)

    def unlisten(self, channel_number: int) -> None:
        """Pika reads the channel again. Only once the channel is closed: a message may be half read before."""
        self._channels.pop(channel_number, None)

    def forward(self, sink: FrameSink) -> None:
        """Whole frames of all channels that nobody listens to go to ``sink``, in their order, and no longer to pika.

        For a stream in which no message is half read. ``sink`` contains its own errors.
        """
        self._sink = sink

    def stop(self) -> None:
        """Read nothing more, not even the rest of what is being read."""
        self._stopped = True
        self._channels.clear()
        self._parts.clear()

    def feed(self, data: bytes) -> None:
        """Read on with the bytes that came next. Raises MalformedFrameError."""
        if self._stopped:
            return
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        try:
            position = self._walk(data)
        finally:
            self._flush()
        if position < len(data) and not self._stopped:
            self._keep(data[position:] if position else data)

    def _keep(self, rest: bytes) -> None:
        self._parts.append(rest)
        self._have = len(rest)
        self._need = FRAME_OVERHEAD + (FRAME_HEAD.unpack_from(rest)[2] if self._have >= FRAME_OVERHEAD else 0)

    def _flush(self) -> None:
        for channel in tuple(self._channels.values()):
            channel.flush()

    def _walk(self, data: bytes) -> int:
        """Handle every whole frame; returns where the first incomplete one begins."""
        length, position, largest = len(data), 0, self._largest
        channels, head = self._channels, FRAME_HEAD.unpack_from
        while length - position >= FRAME_OVERHEAD and not self._stopped:
            kind, number, size = head(data, position)
            end = position + 7 + size
            if end >= length or data[end] != FRAME_END or kind not in KINDS or size > largest:
                if kind == PROTOCOL_HEADER[0] and data.startswith(PROTOCOL_HEADER, position):
                    self._to_pika(data[position : position + FRAME_OVERHEAD])
                    position += FRAME_OVERHEAD
                    continue
                self._check(kind, size, data, end)
                return position
            channel = channels.get(number)
            if channel is None or kind == _HEARTBEAT:
                if number and self._sink is not None:
                    self._sink(number, kind, data[position : end + 1])
                    position = end + 1
                    continue
                self._to_pika(data[position : end + 1])
            elif kind == _METHOD:
                method = int.from_bytes(data[position + 7 : position + 11], "big")
                if method in CONTENT_METHODS and channel.begun is None:
                    position = self._message(channel, number, method, data, position, end)
                    continue
                self._method(channel, method, data, position, end)
            elif kind == _HEADER:
                self._header(channel, data, position, end)
            else:
                self._body(channel, data[position + 7 : end])
            position = end + 1
        return position

    def _message(self, channel: _Listening, number: int, method: int, data: bytes, position: int, end: int) -> int:
        """A message begins; mostly all of it is there, with its body in one frame. Returns where to read on."""
        arguments = data[position + 11 : end]
        at = end + 1
        if channel.answers:
            channel.flush()
        if len(data) - at > 19:
            kind, header_number, size, class_id, _, body_size = _HEADER_HEAD.unpack_from(data, at)
            body_at = at + 8 + size
            whole = kind == _HEADER and header_number == number and class_id == BASIC_CLASS
            whole = whole and _HEADER_SIZE <= size <= self._largest
            if whole and len(data) - body_at >= FRAME_OVERHEAD:
                kind, body_number, size = FRAME_HEAD.unpack_from(data, body_at)
                body_end = body_at + 7 + size
                if (
                    kind == _BODY
                    and body_number == number
                    and size == body_size
                    and 0 < size <= self._largest
                    and body_end < len(data)
                    and data[body_end] == data[body_at - 1] == FRAME_END
                ):
                    channel.contents.append(
                        (method, arguments, data[at + 19 : body_at - 1], data[body_at + 7 : body_end])
                    )
                    return int(body_end + 1)
        channel.begun = _Begun(method, arguments)
        return at

    def _method(self, channel: _Listening, method: int, data: bytes, position: int, end: int) -> None:
        if channel.begun is not None:
            raise MalformedFrameError("a method came in the middle of a message (505 UNEXPECTED_FRAME)")
        if method in (ACK, NACK):
            if end - position != 7 + _ANSWER_SIZE:
                raise MalformedFrameError(f"an ack or nack has {end - position - 7} bytes, not {_ANSWER_SIZE}")
            if channel.contents:
                channel.flush()
            tag = int.from_bytes(data[position + 11 : position + 19], "big")
            channel.answers.append((tag, bool(data[position + 19] & 1), method == ACK))
            return
        self._to_pika(data[position : end + 1])

    def _header(self, channel: _Listening, data: bytes, position: int, end: int) -> None:
        begun = channel.begun
        if begun is None or begun.properties is not None:
            raise MalformedFrameError("a header frame came without a message before it (505 UNEXPECTED_FRAME)")
        if end - position < 7 + _HEADER_SIZE:
            raise MalformedFrameError(f"a header frame has {end - position - 7} bytes; {_HEADER_SIZE} is the least")
        _, _, _, class_id, _, begun.missing = _HEADER_HEAD.unpack_from(data, position)
        if class_id != BASIC_CLASS:
            raise MalformedFrameError(f"a header frame is of class {class_id}, its message of class {BASIC_CLASS}")
        begun.properties = data[position + 19 : end]
        if not begun.missing:
            self._complete(channel, begun, begun.properties)

    def _body(self, channel: _Listening, part: bytes) -> None:
        begun = channel.begun
        if begun is None or begun.properties is None:
            raise MalformedFrameError("a body frame came without a header before it (505 UNEXPECTED_FRAME)")
        begun.missing -= len(part)
        if begun.missing < 0:
            raise MalformedFrameError(f"a message has {-begun.missing} bytes more than its header said")
        begun.parts.append(part)
        if not begun.missing:
            self._complete(channel, begun, begun.properties)

    @staticmethod
    def _complete(channel: _Listening, begun: _Begun, properties: bytes) -> None:
        channel.begun = None
        body = begun.parts[0] if len(begun.parts) == 1 else b"".join(begun.parts)
        channel.contents.append((begun.method, begun.arguments, properties, body))

    def _check(self, kind: int, size: int, data: bytes, end: int) -> None:
        """The frame cannot be taken as it is: is it incomplete, or no frame at all?"""
        if kind not in KINDS:
            raise MalformedFrameError(f"a frame has the unknown type {kind}")
        if size > self._largest:
            raise MalformedFrameError(f"a frame claims {size} bytes; frame_max is {self.frame_max}")
        if end < len(data):
            raise MalformedFrameError(f"a frame of {size} bytes does not end with its end mark")

    def _to_pika(self, data: bytes) -> None:
        """One whole frame for pika, after everything that was read before it."""
        self._flush()
        if self._stopped:
            return
        try:
            _, value = frame.decode_frame(data)
        except Exception as error:
            raise MalformedFrameError(f"a frame cannot be decoded ({type(error).__name__}: {error})") from error
        if value is None:
            raise MalformedFrameError("a frame cannot be decoded: it is shorter than its method")
        try:
            self._pass_on(value)
        except pika_exceptions.ProtocolSyntaxError as error:  # a frame where none of its kind may stand
            raise MalformedFrameError(f"a frame is out of place ({type(error).__name__}: {error})") from error
