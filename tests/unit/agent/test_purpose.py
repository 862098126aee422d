"""What a client says that its connection is for: an agent keeps connections apart by it."""

from __future__ import annotations

from typing import Any

import pytest
from pika import spec

from rmqpool.agent.options import AgentOptions, Bounds
from rmqpool.amqp.connection import pika_parameters
from rmqpool.amqp.purposes import Purpose
from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings
from tests.unit.agent.session_host import Host, content, method, opened, running


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_connection_of_a_pool_tells_what_it_is_for(purpose: Purpose) -> None:
    """Among the client properties that pika sends; others say nothing."""
    told = pika_parameters(ConnectionSettings(), "127.0.0.1", 5672, "name", purpose).client_properties
    assert running(Host(), **told).session.purpose == purpose
    silent = pika_parameters(ConnectionSettings(), "127.0.0.1", 5672, "name", None).client_properties
    assert running(Host(), **silent).session.purpose == ""


@pytest.mark.parametrize("said", [7, True, {"consume": "consume"}, "publish", "other", ""])
def test_any_other_purpose_is_that_of_a_publisher(said: Any) -> None:
    """It may publish; nothing breaks over a value of another kind."""
    host = running(Host(), purpose=said)
    upstream = opened(host, 1)
    host.session.feed(b"".join(content(1, b"x")))
    assert [number for number, _ in host.told("upstream")] == [upstream] * 3
    assert host.violations == []


def test_who_only_consumes_cannot_publish() -> None:
    """Its channel is closed with the reason, on both sides: the broker might block all who consume there."""
    host = running(Host(), purpose="consume")
    upstream = opened(host, 1)
    host.session.feed(method(1, spec.Basic.Consume(queue="orders")) + b"".join(content(1, b"x")))
    ((number, close),) = host.told()
    assert (number, close.reply_code, "only consumes" in close.reply_text) == (1, 403, True)
    consume, closed = host.told("upstream")
    assert (consume[0], type(consume[1])) == (upstream, spec.Basic.Consume)
    assert (closed[0], type(closed[1])) == (upstream, spec.Channel.Close)


def test_who_finds_no_channel_is_told_what_would_help() -> None:
    """There is one connection for consuming, and --connections changes nothing there."""
    for said, advice in (("consume", "start another agent"), ("publish", "--connections")):
        host = running(Host(free=0), purpose=said)
        host.session.feed(method(1, spec.Channel.Open()))
        ((_, close),) = host.told()
        assert (close.reply_code, advice in close.reply_text) == (506, True)


def test_all_connections_have_equal_shares_of_the_memory() -> None:
    """Those for publishing, and one each for consuming and leased channels: together they keep to it."""
    bounds = Bounds.of(128 * 2**20, 2)
    assert bounds.largest_message == 16 * 2**20
    assert 4 * (bounds.largest_message + 2 * bounds.begun + bounds.unwritten + bounds.unread) == 128 * 2**20
    with pytest.raises(ConfigurationError, match="2 more"):
        AgentOptions("/run/agent.sock", connections=4, memory=23 * 2**20)
