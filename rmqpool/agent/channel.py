"""One channel of a client, which is one channel of the broker under another number. Pure: frames in, frames out.

A number of the broker's is free again only when every close, of either side, has its close-ok (AMQP 0-9-1, 1.5.2).
"""

from __future__ import annotations

import enum
from typing import Protocol

from rmqpool.agent import methods
from rmqpool.agent.answers import AnswerCount
from rmqpool.amqp.server_side import channel_close, channel_close_ok

__all__ = ["METHOD", "Channel", "ChannelState", "Owner", "Upstream"]

METHOD = 1
_ACK_SIZE = 21  # bytes of a whole frame of basic.ack and basic.nack
_TAG = slice(11, 19)


class ChannelState(enum.Enum):
    """Where a channel is in its life."""

    OPEN = "open"  # or being opened: frames are in order, so it makes no difference
    CLOSING = "closing"  # channel.close was sent to the broker
    CLOSED = "closed"  # the broker closed it, and waits for close-ok


class Upstream(Protocol):
    """The connection to the broker that all share."""

    def to_upstream(self, data: bytes | bytearray) -> None:
        """Whole frames, in order."""
        ...

    def release(self, channel: Channel) -> None:
        """Its number may be used again."""
        ...


class Owner(Protocol):
    """The client that has the channel."""

    def to_client(self, data: bytes) -> None:
        """Whole frames, in order."""
        ...

    def forget(self, number: int) -> None:
        """The client may open a channel of that number again."""
        ...


class Channel:
    """``number`` is the client's, ``upstream_number`` the broker's; ``owner`` None: its client has ended."""

    __slots__ = (
        "_head",
        "_upstream",
        "answers",
        "has_global_prefetch",
        "held_cancels",
        "is_crossed",
        "missing",
        "number",
        "owner",
        "parts",
        "state",
        "tags",
        "upstream_bytes",
        "upstream_number",
    )

    def __init__(self, number: int, upstream_number: int, owner: Owner, upstream: Upstream) -> None:
        self.number = number
        self.upstream_number = upstream_number
        self.upstream_bytes = upstream_number.to_bytes(2, "big")
        self.owner: Owner | None = owner
        self.state = ChannelState.OPEN
        self.answers: AnswerCount | None = None  # only with confirms
        self.tags: set[bytes] = set()  # of its consumers
        # Of consumers without consume-ok: a basic.cancel that waits for it.
        self.held_cancels: dict[bytes, bytes | None] = {}
        self.has_global_prefetch = False
        self.missing: int | None = None  # bytes of a message's body; -1: its header comes next; None: no message begun
        self.parts: list[bytes] = []  # of that message, with the broker's number
        self.is_crossed = False  # both sides have closed it, and the broker's close is answered
        self._head = number.to_bytes(2, "big")
        self._upstream = upstream

    @property
    def unanswered(self) -> int:
        """Publishes that the broker still owes an answer."""
        return 0 if self.answers is None else self.answers.missing

    @property
    def is_leaving(self) -> bool:
        """The broker owes close-ok, and will say it."""
        return self.state is ChannelState.CLOSING and not self.is_crossed

    # From the broker

    def receive(self, kind: int, frame: bytes) -> None:
        """A whole frame of the broker's for this channel."""
        if kind == METHOD and not self._note(int.from_bytes(frame[7:11], "big"), frame):
            return
        if self.owner is not None:
            self.owner.to_client(b"".join((frame[:1], self._head, frame[3:])))

    def _note(self, method: int, frame: bytes) -> bool:
        """What a method of the broker's changes; whether it is the client's too."""
        if method in (methods.ACK, methods.NACK):
            if self.answers is not None and len(frame) >= _ACK_SIZE:
                self.answers.answer(int.from_bytes(frame[_TAG], "big"), bool(frame[19] & 1))
        elif method == methods.CHANNEL_CLOSE:
            return self._on_close()
        elif method == methods.CHANNEL_CLOSE_OK:
            if self.state is ChannelState.OPEN:
                return False  # late, and of the channel that had this number before
            if self.owner is not None:
                self.owner.forget(self.number)
            self._upstream.release(self)
        elif method == methods.CONSUME_OK:
            tag = frame[12 : 12 + frame[11]]
            self.tags.add(tag)
            cancel = self.held_cancels.pop(tag, None)
            if cancel is not None and self.state is ChannelState.OPEN:
                self._upstream.to_upstream(cancel)
        elif method in (methods.CANCEL, methods.CANCEL_OK):
            self.tags.discard(frame[12 : 12 + frame[11]])
        return True

    def _on_close(self) -> bool:
        """RabbitMQ says it once for each pipelined method that fails, and wants one answer: a second one would end all."""
        self.answers = None
        if self.is_crossed or self.state is ChannelState.CLOSED:
            return False
        if self.owner is not None and self.state is ChannelState.OPEN:
            self.state = ChannelState.CLOSED
            return True
        self.is_crossed = True
        self._upstream.to_upstream(channel_close_ok(self.upstream_number))
        if self.owner is not None:  # no close-ok may come: RabbitMQ forgets a close that came before its own
            self.owner.to_client(channel_close_ok(self.number))
            self.owner.forget(self.number)
            self.owner = None
        return False

    # From the client

    def closed_by_client(self) -> bool:
        """channel.close; whether it is to be forwarded."""
        if self.state is ChannelState.CLOSED:
            if self.owner is not None:
                self.owner.to_client(channel_close_ok(self.number))
            return False
        forwarded = self.state is ChannelState.OPEN
        self.state = ChannelState.CLOSING
        return forwarded

    def close_ok_by_client(self) -> bool:
        """channel.close-ok; whether it was owed."""
        if self.state is not ChannelState.CLOSED:
            return False
        self._upstream.to_upstream(channel_close_ok(self.upstream_number))
        self._upstream.release(self)
        return True

    def orphan(self, why: str) -> None:
        """The client needs it no longer: it is closed, and its number is free when the broker has said so."""
        self.owner = None
        self.missing = None
        self.parts.clear()
        if self.state is ChannelState.CLOSED:
            self.close_ok_by_client()
        elif self.state is ChannelState.OPEN:
            self.state = ChannelState.CLOSING
            self._upstream.to_upstream(channel_close(self.upstream_number, 200, why))
