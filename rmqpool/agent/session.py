"""What one client says and hears: the handshake, its channels, and what of it goes on to the broker. Pure.

Bytes in, calls out: no socket, no clock. Frames go on as they are, under the number of the broker's channel; a message only when
its last byte is there, so that a client that dies in the middle leaves nothing half-said. Whatever is not surely harmless to the
others on the same connection ends this client, or its channel, here.
"""

from __future__ import annotations

import struct

from rmqpool.agent import methods
from rmqpool.agent.answers import AnswerCount
from rmqpool.agent.channel import METHOD, Channel, ChannelState
from rmqpool.agent.crashing import REPLY_TO, check_reply_address
from rmqpool.agent.fences import check_method, check_publish
from rmqpool.agent.handshake import Handshake, SessionState
from rmqpool.agent.host import Host
from rmqpool.agent.tables import check_properties
from rmqpool.agent.violation import ChannelViolation, Violation
from rmqpool.amqp import server_side
from rmqpool.amqp.frame_reader import FRAME_HEAD
from rmqpool.amqp.purposes import Purpose
from rmqpool.amqp.wire import BASIC_CLASS, FRAME_END, FRAME_OVERHEAD

__all__ = ["Session", "SessionState"]

_HEADER, _BODY, _HEARTBEAT = 2, 3, 8
_CONTENT_HEAD = struct.Struct(">HHQ")  # class, weight, body size
_METHOD_ID = struct.Struct(">I")
_IN_RUN = frozenset({methods.ACK, methods.NACK, 0x3C005A})  # they change nothing here
_NO_WAIT = 8  # of basic.consume
_NO_PUBLISHER = (
    "ACCESS_REFUSED - this connection has told the agent that it only consumes (purpose): publish on another one, as the broker "
    "may block those that do"
)


class _HeldBack(Exception):  # noqa: N818 - no error
    """This method goes on later: a basic.cancel before its consume-ok, which can crash a channel of RabbitMQ 3.10 (541)."""


class Session(Handshake):
    """One client's connection. ``forwarded`` counts the messages that went on."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.channels: dict[int, Channel] = {}
        self.forwarded = 0
        self._refused: set[int] = set()  # channels that were closed here; the client owes close-ok
        self._rest = bytearray()
        self._held = 0

    @property
    def waiting_bytes(self) -> int:
        """What is kept of frames and messages that are not complete."""
        return self._held + len(self._rest)

    # The host speaks

    def upstream_lost(self) -> bool:
        """The broker's connection is gone, and all its channels with it; True if there were some."""
        lost = bool(self.channels)
        self.channels.clear()
        self._held = 0
        return lost

    def abandon(self, why: str) -> None:
        """The client is gone, or goes: close its channels, and forget what is half-said."""
        for channel in tuple(self.channels.values()):
            channel.orphan(why)
        self.channels.clear()
        self._refused.clear()
        self._rest.clear()
        self._held = 0

    # Channels speak

    def to_client(self, data: bytes) -> None:
        """Frames of a channel."""
        self._host.to_client(data)

    def forget(self, number: int) -> None:
        """The channel is closed on both sides."""
        channel = self.channels.pop(number, None)
        if channel is not None:
            self._drop_content(channel)

    # The client speaks

    def feed(self, data: bytes) -> None:
        """Read on. What is wrong ends this client, and nobody else."""
        if self.has_ended:
            return
        if self._rest:
            self._rest += data
            buffer, self._rest = self._rest, bytearray()
        else:
            buffer = bytearray(data)
        try:
            position = self._greeting(buffer) if self.state is SessionState.NEW else 0
            position = self._walk(buffer, position)
        except Violation as violation:
            if self.state is SessionState.CLOSING:
                self._end()
                return
            self._host.misbehaved(violation)
            self.close(violation.code, violation.text)
        else:
            if position < len(buffer) and not self.has_ended:
                self._rest = buffer[position:] if position else buffer

    def _walk(self, buffer: bytearray, position: int) -> int:
        """Handle every whole frame; returns where the first incomplete one begins.

        ``buffer[run:done]`` is what goes on to the broker at once; from ``part_at`` on there is a message of ``part``
        that is not complete, without a gap.
        """
        length, host, channels = len(buffer), self._host, self.channels
        run = done = part_at = position
        part: Channel | None = None
        try:
            while length - position >= FRAME_OVERHEAD and not self.has_ended:
                kind, number, size = FRAME_HEAD.unpack_from(buffer, position)
                end = position + 7 + size
                if size > self._largest:
                    raise Violation(501, f"FRAME_ERROR - a frame claims {size} bytes")
                if kind not in (METHOD, _HEADER, _BODY, _HEARTBEAT):
                    raise Violation(501, f"FRAME_ERROR - a frame is of the unknown type {kind}")
                if end >= length:
                    break
                if buffer[end] != FRAME_END:
                    raise Violation(501, "FRAME_ERROR - a frame does not end with its end mark")
                channel = channels.get(number)
                if part is not None and part is not channel:
                    self._hold(part, buffer[part_at:position])
                    part = None
                if channel is None or channel.state is not ChannelState.OPEN or self.state is not SessionState.RUNNING:
                    if done > run:
                        host.to_upstream(buffer[run:done])
                    run = done = end + 1
                    self._aside(kind, number, buffer, position, end)
                    position = end + 1
                    continue
                buffer[position + 1 : position + 3] = channel.upstream_bytes
                try:
                    forward = self._take(channel, kind, buffer, position, end)
                except ChannelViolation as violation:
                    if done > run:
                        host.to_upstream(buffer[run:done])
                    run = done = position = end + 1
                    part = None
                    self._refuse(channel, violation)
                    continue
                except _HeldBack:
                    if done > run:
                        host.to_upstream(buffer[run:done])
                    run = done = position = end + 1
                    continue
                begin = position
                position = end + 1
                if not forward:  # more of this message is to come
                    if part is None and not channel.parts:
                        part, part_at = channel, begin
                    elif part is None:
                        self._hold(channel, buffer[begin:position])
                    continue
                if part is not None:
                    begin, part = part_at, None
                elif channel.parts:
                    if done > run:
                        host.to_upstream(buffer[run:done])
                    run = done = position
                    channel.parts.append(bytes(buffer[begin:position]))
                    host.to_upstream(b"".join(channel.parts))
                    self._drop_content(channel)
                    continue
                if done != begin:
                    if done > run:
                        host.to_upstream(buffer[run:done])
                    run = begin
                done = position
            if part is not None:
                self._hold(part, buffer[part_at:position])
        finally:
            if done > run:
                host.to_upstream(buffer[run:done])
        return position

    def _take(self, channel: Channel, kind: int, buffer: bytearray, position: int, end: int) -> bool:
        """A frame of an open channel; whether it, with what came before it of the same message, goes on now."""
        missing = channel.missing
        if kind == METHOD:
            if missing is not None:
                raise Violation(505, "UNEXPECTED_FRAME - a method came in the middle of a message")
            if end - position < 11:
                raise Violation(502, "SYNTAX_ERROR - a method frame is too short")
            method = _METHOD_ID.unpack_from(buffer, position + 7)[0]
            if method == methods.PUBLISH:
                if self._only_consumes:
                    raise ChannelViolation(403, _NO_PUBLISHER)
                check_publish(methods.publish_bits(buffer, position + 11, end))
                if buffer.startswith(REPLY_TO, position + 15) and not buffer[position + 13]:  # by the default exchange
                    check_reply_address(bytes(buffer[position + 15 : end - 1]))
                channel.missing = -1
                return False
            return self._method(channel, method, buffer, position + 11, end)
        if kind == _BODY:
            if missing is None or missing <= 0:
                raise Violation(505, "UNEXPECTED_FRAME - a body came without a header before it")
            channel.missing = missing = missing - (end - position - 7)
            if missing < 0:
                raise Violation(501, f"FRAME_ERROR - a message has {-missing} bytes more than its header said")
            if missing:
                return False
        elif kind == _HEADER:
            if missing != -1:
                raise Violation(505, "UNEXPECTED_FRAME - a header came without a method before it")
            if end - position < 21:
                raise Violation(501, "FRAME_ERROR - a header frame is too short")
            class_id, _, channel.missing = _CONTENT_HEAD.unpack_from(buffer, position + 7)
            if class_id != BASIC_CLASS:
                raise Violation(505, f"UNEXPECTED_FRAME - a header of class {class_id}")
            check_properties(buffer, position + 19, end)
            if channel.missing > self._host.largest_message:
                raise ChannelViolation(
                    406,
                    f"PRECONDITION_FAILED - message size {channel.missing} is larger than the agent's limit "
                    f"{self._host.largest_message}: start it with more --memory",
                )
            if channel.missing:
                return False
        else:
            raise Violation(501, "FRAME_ERROR - a heartbeat came on a channel")
        channel.missing = None
        self.forwarded += 1
        if channel.answers is not None:
            channel.answers.publish()
        return True

    def _method(self, channel: Channel, method: int, buffer: bytearray, at: int, end: int) -> bool:
        arguments = methods.arguments_of(method, buffer, at, end)
        if method in _IN_RUN:
            return True
        if method == methods.CHANNEL_OPEN:
            raise Violation(503, "COMMAND_INVALID - second 'channel.open' seen")
        if method == methods.CHANNEL_CLOSE_OK:
            raise Violation(503, "COMMAND_INVALID - a channel.close-ok that nobody waits for")
        check_method(method, arguments, channel.tags, self._host.exchange_types)
        self._host.check_lessons(method, arguments, channel.has_global_prefetch)
        if method == methods.CHANNEL_CLOSE:
            return channel.closed_by_client()
        if method == methods.CONFIRM_SELECT and channel.answers is None:
            channel.answers = AnswerCount()
        elif method == methods.CONSUME and arguments[2]:
            channel.tags.add(arguments[2])
            if not arguments[3] & _NO_WAIT:
                channel.held_cancels[arguments[2]] = None
        elif method == methods.CANCEL and arguments[0] in channel.held_cancels:
            channel.held_cancels[arguments[0]] = bytes(buffer[at - 11 : end + 1])
            raise _HeldBack
        elif (
            method == methods.CANCEL and arguments[1] & 1
        ):  # else cancel-ok frees the tag: used again before it, it ends all
            channel.tags.discard(arguments[0])
        elif method == methods.QOS:
            channel.has_global_prefetch = bool(arguments[2] & 1)
        return True

    def _aside(self, kind: int, number: int, buffer: bytearray, position: int, end: int) -> None:
        """A frame that does not simply go on: of the connection, or of a channel that is not open."""
        if self.state is SessionState.CLOSING and number:
            return
        method = 0
        if kind == METHOD:
            if end - position < 11:
                raise Violation(502, "SYNTAX_ERROR - a method frame is too short")
            method = _METHOD_ID.unpack_from(buffer, position + 7)[0]
        if number == 0:
            if kind == METHOD:
                self._connection_method(method, bytes(buffer[position + 11 : end]))
            elif kind != _HEARTBEAT:
                raise Violation(501, "FRAME_ERROR - a message came on channel 0")
            return
        if self.state is not SessionState.RUNNING:
            raise Violation(503, "COMMAND_INVALID - a channel is used before connection.open")
        channel = self.channels.get(number)
        if channel is not None:
            if method == methods.CHANNEL_CLOSE:
                channel.closed_by_client()
            elif method == methods.CHANNEL_CLOSE_OK and channel.close_ok_by_client():
                self.forget(number)
            return  # everything else is ignored until the close is answered, as the broker does
        if number in self._refused:
            if method == methods.CHANNEL_CLOSE:
                self._host.to_client(server_side.channel_close_ok(number))
            elif method == methods.CHANNEL_CLOSE_OK:
                self._refused.discard(number)
            return
        if method != methods.CHANNEL_OPEN:
            raise Violation(504, "CHANNEL_ERROR - expected 'channel.open'")
        methods.arguments_of(method, buffer, position + 11, end)
        self._open(number, buffer, position, end)

    def _open(self, number: int, buffer: bytearray, position: int, end: int) -> None:
        if number > self._channel_max:
            raise Violation(504, f"CHANNEL_ERROR - channel {number} is above the channel_max of {self._channel_max}")
        channel = self._host.new_channel(number)
        if channel is None:
            self._refused.add(number)
            apart = self.purpose in (Purpose.CONSUME, Purpose.LEASE)
            text = (
                f"RESOURCE_ERROR - the channels of the agent's connection{f' to {self.purpose}' if apart else ''} are in use, or "
                f"kept for others: start {'another agent' if apart else 'it with more --connections'}"
            )
            self._host.to_client(server_side.channel_close(number, 506, text))
            return
        self.channels[number] = channel
        buffer[position + 1 : position + 3] = channel.upstream_bytes
        self._host.to_upstream(bytes(buffer[position : end + 1]))

    # Contents and ends

    def _hold(self, channel: Channel, part: bytearray) -> None:
        channel.parts.append(bytes(part))
        self._held += len(part)

    def _drop_content(self, channel: Channel) -> None:
        self._held -= sum(map(len, channel.parts))
        self._held = max(0, self._held)
        channel.parts.clear()

    def _refuse(self, channel: Channel, violation: ChannelViolation) -> None:
        """Close the channel on both sides; what else the client has sent on it is ignored."""
        self._host.misbehaved(violation)
        self.channels.pop(channel.number, None)
        self._drop_content(channel)
        self._refused.add(channel.number)
        channel.orphan("closed by the agent")
        self._host.to_client(server_side.channel_close(channel.number, violation.code, violation.text))
