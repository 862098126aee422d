"""What never gets to the broker: what would end the connection of all, and what the agent refuses."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import spec

from rmqpool.agent.session import SessionState
from tests.unit.agent.session_host import (
    FRAME_MAX,
    LARGEST_MESSAGE,
    Host,
    closes,
    content,
    decoded,
    method,
    opened,
    running,
    split,
)


@pytest.fixture
def host() -> Host:
    return running(Host())


def body_frame(number: int, body: bytes) -> bytes:
    return struct.pack(">BHI", 3, number, len(body)) + body + b"\xce"


WRONG_PROPERTIES = b"\x02\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x00" + b"\0" * 8 + b"\xff\xff\xce"
BAD = {
    "immediate": (method(1, spec.Basic.Publish(immediate=True)), 540),
    "prefetch-size": (method(1, spec.Basic.Qos(prefetch_size=1)), 540),
    "flow": (method(1, spec.Channel.Flow(False)), 540),
    "recover": (method(1, spec.Basic.Recover(False)), 540),
    "connection method": (method(1, spec.Connection.Close(200, "", 0, 0)), 503),
    "broker's method": (method(1, spec.Basic.Deliver("a", 1, False, "", "")), 503),
    "opened twice": (method(1, spec.Channel.Open()), 503),
    "close-ok": (method(1, spec.Channel.CloseOk()), 503),
    "not open": (method(9, spec.Basic.Publish()), 504),
    "too high": (method(101, spec.Channel.Open()), 504),
    "body first": (body_frame(1, b"x"), 505),
    "header first": (content(1, b"x")[1], 505),
    "header twice": (content(1, b"x")[0] + content(1, b"x")[1] * 2, 505),
    "method in a message": (content(1, b"x")[0] + method(1, spec.Basic.Ack(1)), 505),
    "body too long": (b"".join(content(1, b"x")[:2]) + body_frame(1, b"xx"), 501),
    "heartbeat": (b"\x08\x00\x01\x00\x00\x00\x00\xce", 501),
    "type": (b"\x07\x00\x01\x00\x00\x00\x00\xce", 501),
    "end mark": (method(1, spec.Basic.Ack(1))[:-1] + b"\x00", 501),
    "frame too large": (struct.pack(">BHI", 3, 1, FRAME_MAX), 501),
    "cut off": (method(1, spec.Basic.Ack(1))[:3] + b"\x00\x00\x00\x05" + b"\x00\x3c\x00\x50\x00\xce", 502),
    "unknown class": (b"\x01\x00\x01\x00\x00\x00\x04\x00\x63\x00\x01\xce", 503),
    "wrong class": (content(1, b"x")[0] + content(1, b"x")[1].replace(b"\x00\x3c", b"\x00\x3d", 1), 505),
    "wrong properties": (
        content(1, b"x")[0] + WRONG_PROPERTIES,
        502,
    ),
    "text": (method(1, spec.Basic.Get(0, "q1")).replace(b"q1", b"q\xff"), 501),
    "routing key": (method(1, spec.Basic.Publish(routing_key="q1")).replace(b"q1", b"q\xff"), 501),
    "message on 0": (body_frame(0, b"x"), 501),
}


@pytest.mark.parametrize(("raw", "code"), BAD.values(), ids=BAD)
def test_what_would_end_the_connection_of_all_ends_this_client_only(host: Host, raw: bytes, code: int) -> None:
    """The broker hears of it that the channel is closed, and nothing else."""
    opened(host, 1)
    good = b"".join(content(1, b"before"))
    host.session.feed(good + raw + b"".join(content(1, b"behind")))
    assert closes(host) == [(0, code)]
    assert [violation.code for violation in host.violations] == [code]
    assert bytes(host.upstream).startswith(b"\x01\x03\xe9")
    assert [type(told) for _, told in host.told("upstream")][3:] == [spec.Channel.Close]
    assert host.session.state is SessionState.CLOSING


REFUSED = {
    "too large": (content(1, b"x" * (LARGEST_MESSAGE + 1)), 406),
    "exclusive": ([method(1, spec.Queue.Declare(queue="q", exclusive=True))], 405),
    "delete if unused": ([method(1, spec.Queue.Delete(queue="q", if_unused=True))], 540),
    "delete if empty": ([method(1, spec.Queue.Delete(queue="q", if_empty=True))], 540),
    "exchange type": ([method(1, spec.Exchange.Declare(exchange="e", type="x-delayed-message"))], 406),
}


@pytest.mark.parametrize(("frames", "code"), REFUSED.values(), ids=REFUSED)
def test_what_the_agent_refuses_closes_the_channel_only(host: Host, frames: list[bytes], code: int) -> None:
    """The rest of it is ignored; then the client may open it again."""
    upstream = opened(host, 1)
    opened(host, 2)
    host.session.feed(b"".join(frames))
    assert closes(host) == [(1, code)]
    assert [(number, type(told)) for number, told in host.told("upstream")] == [(upstream, spec.Channel.Close)]
    host.session.feed(b"".join(content(2, b"another channel goes on")))
    assert len(host.told("upstream")) == 3
    host.session.feed(method(1, spec.Channel.CloseOk()))
    host.broker_says(upstream, spec.Channel.CloseOk())
    opened(host, 1)


def test_a_consumer_tag_is_used_once_at_a_time(host: Host) -> None:
    """The broker ends the connection for the second: not allowed (530)."""
    upstream = opened(host, 1)
    consume = method(1, spec.Basic.Consume(queue="q", consumer_tag="tag"))
    host.session.feed(consume + method(1, spec.Basic.Cancel("tag")))
    host.broker_says(upstream, spec.Basic.CancelOk("tag"))
    host.session.feed(consume)
    assert closes(host) == []
    host.broker_says(upstream, spec.Basic.Cancel("tag", True))
    host.session.feed(consume)
    assert closes(host) == []
    host.broker_says(upstream, spec.Basic.ConsumeOk("amq.ctag-1"))
    host.session.feed(method(1, spec.Basic.Consume(queue="q", consumer_tag="amq.ctag-1")))
    assert closes(host) == [(0, 530)]


def test_a_known_exchange_type_goes_through(host: Host) -> None:
    """And one that is only looked for."""
    opened(host, 1)
    for declare in (
        spec.Exchange.Declare(exchange="e", type="topic"),
        spec.Exchange.Declare(exchange="e", type="anything", passive=True),
    ):
        host.session.feed(method(1, declare))
    assert len(host.told("upstream")) == 2
    assert closes(host) == []


@given(st.lists(st.binary(max_size=60) | st.sampled_from([raw for raw, _ in BAD.values()]), max_size=6), st.booleans())
def test_no_garbage_gets_to_the_broker(pieces: list[bytes], handshake: bool) -> None:
    """Whatever comes, the broker gets whole frames that mean something, and the session raises nothing."""
    host = Host()
    if handshake:
        running(host)
        opened(host, 1)
    for piece in pieces:
        host.session.feed(piece)
    for number, told in decoded(bytes(host.upstream)):
        assert number >= 1001
        assert told is not None
    host.session.abandon("gone")
    for raw in split(bytes(host.upstream))[-1:]:
        assert decoded(raw)
    assert all(channel.owner is None for channel in host.channels.values())
