"""A session with a host that only writes down, and frames as a client makes them."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from pika import frame, spec

from rmqpool.agent.channel import Channel
from rmqpool.agent.fences import KNOWN_EXCHANGE_TYPES
from rmqpool.agent.lessons import Lessons
from rmqpool.agent.session import Session, SessionState
from rmqpool.agent.violation import Violation
from rmqpool.amqp.wire import encode_properties, marshal
from rmqpool.message import Message

__all__ = ["FRAME_MAX", "Host", "closes", "content", "decoded", "method", "opened", "running"]

FRAME_MAX = 4096
LARGEST_MESSAGE = 20_000
HEADER = b"AMQP\x00\x00\x09\x01"


class Host:
    """Writes down; ``free`` are the broker's channel numbers."""

    channel_max = 100
    frame_max = FRAME_MAX
    heartbeat = 15
    largest_message = LARGEST_MESSAGE
    vhost = "shop"
    exchange_types: Set[bytes] = KNOWN_EXCHANGE_TYPES

    def __init__(self, free: int = 50, refused: Violation | None = None) -> None:
        self.session = Session(self)
        self.upstream = bytearray()
        self.client = bytearray()
        self.free = list(range(1001, 1001 + free))
        self.channels: dict[int, Channel] = {}
        self.violations: list[Violation] = []
        self.refused = refused
        self.is_ended = False
        self.lessons = Lessons()

    def greeted(self) -> None:
        self.session.start({"product": "RabbitMQ", "version": "3.10.8"})

    def refusal(self) -> Violation | None:
        return self.refused

    def wants_in(self) -> None:
        self.session.opened(None)

    def new_channel(self, number: int) -> Channel | None:
        if not self.free:
            return None
        channel = Channel(number, self.free.pop(0), self.session, self)
        self.channels[channel.upstream_number] = channel
        return channel

    def release(self, channel: Channel) -> None:
        del self.channels[channel.upstream_number]
        self.free.append(channel.upstream_number)

    def check_lessons(self, method: int, arguments: list[Any], is_global: bool) -> None:
        self.lessons.check(method, arguments, is_global, now=0.0)

    def to_upstream(self, data: bytes | bytearray) -> None:
        self.upstream += data

    def to_client(self, data: bytes) -> None:
        assert not self.is_ended
        self.client += data

    def misbehaved(self, violation: Violation) -> None:
        self.violations.append(violation)

    def ended(self) -> None:
        self.is_ended = True

    # What a test does with it

    def broker_says(self, number: int, said: Any) -> None:
        """A method of the broker's on its channel ``number``."""
        self.channels[number].receive(1, method(number, said))

    def told(self, whose: str = "client") -> list[tuple[int, Any]]:
        """The frames for the client (or upstream) since the last look: channel, and method or what else it is."""
        buffer: bytearray = getattr(self, whose)
        frames = decoded(bytes(buffer))
        buffer.clear()
        return frames


def method(number: int, said: Any) -> bytes:
    """A method frame."""
    return bytes(frame.Method(number, said).marshal())


def content(number: int, body: bytes, routing_key: str = "orders", **properties: Any) -> list[bytes]:
    """The frames of a publish, each for itself."""
    message = Message(body=body, message_id="id", exchange="", routing_key=routing_key, **properties)
    raw = b"".join(marshal(number, message, encode_properties(message, FRAME_MAX), FRAME_MAX - 8))
    return split(raw)


def split(raw: bytes) -> list[bytes]:
    """Frames that are whole."""
    frames = []
    while raw:
        size = 8 + int.from_bytes(raw[3:7], "big")
        assert len(raw) >= size
        assert raw[size - 1] == 0xCE
        frames.append(raw[:size])
        raw = raw[size:]
    return frames


def decoded(raw: bytes) -> list[tuple[int, Any]]:
    """Channel, and method, properties or body; the protocol header as None."""
    found: list[tuple[int, Any]] = []
    for one in split(raw):
        _, value = frame.decode_frame(one)
        told = getattr(value, "method", getattr(value, "properties", getattr(value, "fragment", None)))
        found.append((value.channel_number, told))
    return found


def running(host: Host, feed: Callable[[bytes], None] | None = None, **start_ok: Any) -> Host:
    """The handshake; ``start_ok`` are properties of the client."""
    feed = feed or host.session.feed
    feed(HEADER)
    properties = {"connection_name": "test", "capabilities": {"connection.blocked": True}, **start_ok}
    feed(method(0, spec.Connection.StartOk(properties, "PLAIN", "\0guest\0guest", "en_US")))
    feed(method(0, spec.Connection.TuneOk(0, FRAME_MAX, 10)))
    feed(method(0, spec.Connection.Open("/")))
    assert host.session.state is SessionState.RUNNING
    host.told()
    return host


def opened(host: Host, number: int) -> int:
    """Open a channel; the broker's number of it."""
    host.session.feed(method(number, spec.Channel.Open()))
    upstream = host.session.channels[number].upstream_number
    host.broker_says(upstream, spec.Channel.OpenOk())
    host.told()
    host.told("upstream")
    return upstream


def closes(host: Host) -> list[tuple[int, int]]:
    """The closes that the client was told: channel, code."""
    return [
        (number, told.reply_code)
        for number, told in host.told()
        if isinstance(told, spec.Connection.Close | spec.Channel.Close)
    ]
