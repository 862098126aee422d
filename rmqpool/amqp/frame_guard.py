"""Where pika reads the frames itself: whether they can be frames at all. Pika would wait for ever for what never comes.

It looks at the heads and ends of frames only, and keeps nothing: bytes in, an error at the first one that cannot be AMQP.
"""

from __future__ import annotations

from rmqpool.amqp.frame_reader import FRAME_HEAD, KINDS, PROTOCOL_HEADER, MalformedFrameError
from rmqpool.amqp.wire import FRAME_END, FRAME_OVERHEAD

__all__ = ["FrameGuard"]


class FrameGuard:
    """Follows the byte stream of one connection. ``frame_max`` is bytes, head and end mark counted."""

    def __init__(self, frame_max: int) -> None:
        self.frame_max = frame_max
        self._head = b""
        self._left = 0  # bytes of the frame that are still to come, the end mark among them
        self._first = True
        self._over = False

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises MalformedFrameError."""
        at, end = 0, len(data)
        while at < end and not self._over:
            if self._left:
                step = min(self._left, end - at)
                at += step
                self._left -= step
                if not self._left and data[at - 1] != FRAME_END:
                    raise MalformedFrameError(f"a frame ends with {data[at - 1]:#04x} instead of {FRAME_END:#04x}")
                continue
            missing = FRAME_HEAD.size - len(self._head)
            self._head += data[at : at + missing]
            at += missing
            if len(self._head) == FRAME_HEAD.size:
                self._begin(self._head)
                self._head = b""

    def _begin(self, head: bytes) -> None:
        first, self._first = self._first, False
        if first and head.startswith(PROTOCOL_HEADER):
            self._over = True  # the broker refuses our version of the protocol, and pika says so
            return
        kind, _, size = FRAME_HEAD.unpack(head)
        if kind not in KINDS:
            raise MalformedFrameError(f"a frame is of type {kind}, which does not exist")
        if size + FRAME_OVERHEAD > self.frame_max:
            raise MalformedFrameError(f"a frame claims {size} bytes, and {self.frame_max} were agreed on")
        self._left = size + 1
