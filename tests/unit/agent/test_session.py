"""A client's connection, frame by frame: what goes on to the broker, and what never does."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import spec

from rmqpool.agent.violation import Violation
from tests.unit.agent.session_host import (
    FRAME_MAX,
    HEADER,
    Host,
    closes,
    content,
    method,
    opened,
    running,
)


@pytest.fixture
def host() -> Host:
    return running(Host())


# The handshake


def test_a_handshake_gives_the_brokers_own_words() -> None:
    """Product and version are the broker's, the limits too; credentials mean nothing."""
    host = Host()
    host.session.feed(HEADER)
    ((_, start),) = host.told()
    assert start.server_properties == {"product": "RabbitMQ", "version": "3.10.8"}
    host.session.feed(method(0, spec.Connection.StartOk({}, "PLAIN", "", "en_US")))
    ((_, tune),) = host.told()
    assert (tune.frame_max, tune.channel_max, tune.heartbeat) == (FRAME_MAX, 100, 15)


def test_the_handshake_may_come_byte_by_byte() -> None:
    """Any split of the bytes is the same."""
    host = Host()
    running(host, lambda data: [host.session.feed(data[at : at + 1]) for at in range(len(data))] and None)


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\n", b"AMQP\x01\x01\x00\x09", b"AMQP\x03\x01\x00\x00"])
def test_another_protocol_is_answered_with_ours(raw: bytes) -> None:
    """As AMQP demands, and then the end."""
    host = Host()
    host.session.feed(raw)
    assert host.is_ended
    assert bytes(host.client) == HEADER


def test_who_is_not_let_in_gets_the_reason() -> None:
    """connection.close with the code, before anything else."""
    host = Host(refused=Violation(403, "ACCESS_REFUSED - not you"))
    host.session.feed(HEADER)
    host.session.feed(method(0, spec.Connection.StartOk({}, "PLAIN", "", "en_US")))
    assert closes(host) == [(0, 403)]
    host.session.feed(method(0, spec.Connection.CloseOk()))
    assert host.is_ended


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (spec.Connection.TuneOk(0, FRAME_MAX, 10), 503),
        (spec.Channel.Open(), 503),
        (spec.Connection.Open("/"), 503),
    ],
    ids=lambda one: getattr(one, "NAME", str(one)),
)
def test_what_comes_too_early_is_refused(said: Any, code: int) -> None:
    """Only that client ends."""
    host = Host()
    host.session.feed(HEADER)
    host.told()
    host.session.feed(method(1 if said.INDEX == spec.Channel.Open.INDEX else 0, said))
    assert closes(host) == [(0, code)]
    assert not host.upstream


def test_another_virtual_host_is_refused() -> None:
    """The agent has one."""
    host = Host()
    host.session.feed(HEADER + method(0, spec.Connection.StartOk({}, "PLAIN", "", "en_US")))
    host.session.feed(method(0, spec.Connection.TuneOk(0, 0, 0)) + method(0, spec.Connection.Open("other")))
    assert closes(host) == [(0, 530)]


def test_a_client_that_closes_is_answered(host: Host) -> None:
    """Its channels are closed at the broker's."""
    upstream = opened(host, 1)
    host.session.feed(method(0, spec.Connection.Close(200, "bye", 0, 0)))
    assert [type(told) for _, told in host.told()] == [spec.Connection.CloseOk]
    assert host.is_ended
    ((number, told),) = host.told("upstream")
    assert (number, type(told)) == (upstream, spec.Channel.Close)


def test_blocked_is_told_to_those_that_hear_it(host: Host) -> None:
    """Only with the capability."""
    host.session.blocked("low on memory")
    host.session.blocked(None)
    assert [type(told) for _, told in host.told()] == [spec.Connection.Blocked, spec.Connection.Unblocked]
    host.session.hears_blocked = False
    host.session.blocked("low on memory")
    assert host.told() == []


# Channels


def test_a_message_goes_on_under_the_brokers_number(host: Host) -> None:
    """And the answer comes back under the client's."""
    upstream = opened(host, 3)
    host.session.feed(method(3, spec.Confirm.Select()))
    host.session.feed(b"".join(content(3, b"x" * 10_000)))
    frames = host.told("upstream")
    assert {number for number, _ in frames} == {upstream}
    assert b"".join(told for _, told in frames[3:]) == b"x" * 10_000
    assert host.session.channels[3].unanswered == 1
    host.broker_says(upstream, spec.Basic.Ack(1, False))
    ((number, ack),) = host.told()
    assert (number, ack.delivery_tag) == (3, 1)
    assert host.session.channels[3].unanswered == 0


def test_nothing_of_a_message_that_is_not_complete_goes_on(host: Host) -> None:
    """The client dies in the middle: its channel is closed, and that is all."""
    upstream = opened(host, 1)
    raw = b"".join(content(1, b"x" * 15_000))
    host.session.feed(raw[:-1])
    assert not host.upstream
    assert host.session.waiting_bytes == len(raw) - 1
    host.session.abandon("gone")
    ((number, told),) = host.told("upstream")
    assert (number, type(told)) == (upstream, spec.Channel.Close)
    assert host.session.waiting_bytes == 0


def test_a_number_is_free_when_the_broker_has_answered_the_close(host: Host) -> None:
    """And not before: what is still under way belongs to the old channel."""
    upstream = opened(host, 1)
    host.session.feed(method(1, spec.Channel.Close(200, "", 0, 0)))
    assert upstream not in host.free
    host.broker_says(upstream, spec.Channel.CloseOk())
    assert upstream in host.free
    assert [type(told) for _, told in host.told()] == [spec.Channel.CloseOk]
    assert host.session.channels == {}


def test_a_channel_that_the_broker_closes_is_the_clients_to_confirm(host: Host) -> None:
    """What was on its way is ignored until then."""
    upstream = opened(host, 1)
    host.broker_says(upstream, spec.Channel.Close(404, "NOT_FOUND", 60, 40))
    assert closes(host) == [(1, 404)]
    host.session.feed(b"".join(content(1, b"late")))
    assert not host.upstream
    host.session.feed(method(1, spec.Channel.CloseOk()))
    assert [type(told) for _, told in host.told("upstream")] == [spec.Channel.CloseOk]
    assert upstream in host.free
    opened(host, 1)


def test_a_channel_that_the_broker_closes_twice_is_confirmed_once(host: Host) -> None:
    """RabbitMQ says it for each pipelined method that fails; a second close-ok would end the connection of all (504)."""
    upstream = opened(host, 1)
    close = spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 90)
    host.broker_says(upstream, close)
    host.broker_says(upstream, close)
    assert closes(host) == [(1, 406)]
    assert not host.upstream
    host.session.feed(method(1, spec.Channel.CloseOk()))
    assert [type(told) for _, told in host.told("upstream")] == [spec.Channel.CloseOk]
    second = opened(host, 2)
    host.session.abandon("gone")
    host.told("upstream")
    host.broker_says(second, close)
    host.broker_says(second, close)
    assert [type(told) for _, told in host.told("upstream")] == [spec.Channel.CloseOk]


def test_both_sides_may_close_at_once(host: Host) -> None:
    """The client has its close-ok at once, as the broker's may never come; the number is free with it, or by the host."""
    upstream = opened(host, 1)
    host.session.feed(method(1, spec.Channel.Close(200, "", 0, 0)))
    host.told("upstream")
    host.broker_says(upstream, spec.Channel.Close(404, "NOT_FOUND", 60, 40))
    assert [type(told) for _, told in host.told("upstream")] == [spec.Channel.CloseOk]
    assert [type(told) for _, told in host.told()] == [spec.Channel.CloseOk]
    assert upstream not in host.free
    assert host.channels[upstream].is_crossed
    opened(host, 1)
    host.broker_says(upstream, spec.Channel.CloseOk())
    assert upstream in host.free
    assert host.told() == []
    assert 1 in host.session.channels


def test_a_late_close_ok_is_not_the_next_channels(host: Host) -> None:
    """It is ignored on a channel that nobody has closed."""
    upstream = opened(host, 1)
    host.broker_says(upstream, spec.Channel.CloseOk())
    assert upstream not in host.free
    assert host.told() == []


def test_a_client_that_ends_leaves_no_close_unanswered(host: Host) -> None:
    """Not the one that the broker waits for either."""
    upstream = opened(host, 1)
    host.broker_says(upstream, spec.Channel.Close(404, "NOT_FOUND", 60, 40))
    host.session.abandon("gone")
    assert [type(told) for _, told in host.told("upstream")] == [spec.Channel.CloseOk]
    assert upstream in host.free


def test_no_channel_left_closes_that_channel_only() -> None:
    """The client may try again."""
    host = running(Host(free=1))
    upstream = opened(host, 1)
    host.session.feed(method(2, spec.Channel.Open()))
    assert closes(host) == [(2, 506)]
    host.session.feed(b"".join(content(2, b"ignored")) + method(2, spec.Channel.CloseOk()))
    assert not host.upstream
    host.session.feed(method(1, spec.Channel.Close(200, "", 0, 0)))
    host.broker_says(upstream, spec.Channel.CloseOk())
    opened(host, 2)


# Laws


BODIES = st.sampled_from([b"", b"x", b"y" * 100, b"z" * 9000])


@given(st.lists(st.tuples(st.integers(1, 4), BODIES), max_size=12), st.randoms(use_true_random=False))
def test_messages_of_any_channels_in_any_pieces_go_on_whole_and_in_order(
    messages: list[tuple[int, bytes]], choose: random.Random
) -> None:
    """Frames of several channels are mixed as a client may, and the bytes are split anywhere."""
    host = running(Host())
    numbers = {opened(host, number): number for number in (1, 2, 3, 4)}
    waiting: dict[int, list[bytes]] = {number: [] for number in (1, 2, 3, 4)}
    for position, (number, body) in enumerate(messages):
        waiting[number] += content(number, body, routing_key=f"{position}")
    raw = b""
    while any(waiting.values()):
        raw += waiting[choose.choice([number for number, frames in waiting.items() if frames])].pop(0)
    while raw:
        size = choose.choice((1, 3, 7, 50, 5000))
        host.session.feed(raw[:size])
        raw = raw[size:]
    assert host.session.waiting_bytes == 0
    arrived: dict[int, list[tuple[str, bytes]]] = {number: [] for number in (1, 2, 3, 4)}
    frames = host.told("upstream")
    while frames:
        (number, publish), (same, _) = frames.pop(0), frames.pop(0)
        assert number == same
        body = b""
        while frames and isinstance(frames[0][1], bytes):
            assert frames[0][0] == number  # nobody else in the middle of a message
            body += frames.pop(0)[1]
        arrived[numbers[number]].append((publish.routing_key, body))
    assert arrived == {
        number: [(f"{at}", body) for at, (owner, body) in enumerate(messages) if owner == number] for number in arrived
    }
    assert host.session.forwarded == len(messages)
