"""What RabbitMQ does not check, and what ends everybody's connection, is refused to the one who says it."""

from __future__ import annotations

import datetime
import struct
from typing import Any

import pytest
from pika import spec
from pika.data import encode_table

from rmqpool.agent.crashing import check_arguments, check_reply_address
from rmqpool.agent.violation import ChannelViolation
from tests.unit.agent.session_host import Host, content, method, opened, running

ADDRESS = b"amq.rabbitmq.reply-to.g1h2AA5yZXBseUA0MTc0NzE3MgAAHlwAAAAAawIWlA==.2cboeb4khhuxpY68Zz6T+A=="


def table(**arguments: Any) -> bytes:
    pieces: list[bytes] = []
    encode_table(pieces, {name.replace("_", "-"): value for name, value in arguments.items()})
    return b"".join(pieces)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x_max_age": "5D", "x_queue_type": "stream"},
        {"x_max_age": 5},
        {"x_stream_offset": "first"},
        {"x_stream_offset": "5D"},
        {"x_stream_offset": -5},
        {"x_stream_offset": datetime.datetime(2026, 1, 1)},
        {"x_queue_master_locator": "random"},
        {"other": "x-max-age"},
    ],
)
def test_arguments_that_the_broker_answers_go_on(arguments: dict[str, Any]) -> None:
    """Right ones, and wrong ones that cost a channel only."""
    check_arguments(table(**arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        *({"x_max_age": value} for value in ("", "D", "-5D", " 5D")),
        *({"x_stream_offset": value} for value in ("", "D", True, [1], {"a": 1}, None)),
        *({"x_queue_master_locator": value} for value in ("foo", 5)),
        {"x_credit": "a"},
        {"x_queue_type": -1},
    ],
)
def test_arguments_that_crash_a_channel_are_refused(arguments: dict[str, Any]) -> None:
    """Each of these is a 541 of RabbitMQ 3.10."""
    with pytest.raises(ChannelViolation, match="x-"):
        check_arguments(table(**arguments))


def test_an_unknown_type_is_refused_where_the_broker_is_to_name_the_queue() -> None:
    """541; with a name it is the broker's own 406."""
    check_arguments(table(x_queue_type="other"))
    check_arguments(table(x_queue_type="classic"), has_name=False)
    with pytest.raises(ChannelViolation, match="x-queue-type"):
        check_arguments(table(x_queue_type="other"), has_name=False)


@pytest.mark.parametrize("address", [b"orders", b"amq.rabbitmq.reply-to.", b"amq.rabbitmq.reply-to.a", ADDRESS])
def test_addresses_that_the_broker_can_read_go_on(address: bytes) -> None:
    """Its own, and what is not taken for one."""
    check_reply_address(address)


@pytest.mark.parametrize(
    "address", [b"amq.rabbitmq.reply-to.abc.def", b"amq.rabbitmq.reply-to.g1h2.x", ADDRESS[:30] + b"A.x"]
)
def test_addresses_that_no_broker_made_are_refused(address: bytes) -> None:
    """Their first part is decoded as a process of Erlang's: 541."""
    with pytest.raises(ChannelViolation, match="direct reply-to"):
        check_reply_address(address)


def test_what_would_crash_closes_its_channel_and_is_not_forwarded() -> None:
    """A declare, a consume and a publish, of three channels of one client."""
    host = running(Host())
    for number in (1, 2, 3):
        opened(host, number)
    host.session.feed(method(1, spec.Queue.Declare(queue="q", arguments={"x-max-age": "long"})))
    host.session.feed(method(2, spec.Basic.Consume(queue="q", arguments={"x-stream-offset": "start"})))
    host.session.feed(b"".join(content(3, b"body", routing_key="amq.rabbitmq.reply-to.abc.def")))
    assert [(number, type(told), told.reply_code) for number, told in host.told()] == [
        (1, spec.Channel.Close, 406),
        (2, spec.Channel.Close, 406),
        (3, spec.Channel.Close, 404),
    ]
    assert {type(told) for _, told in host.told("upstream")} == {spec.Channel.Close}


@pytest.mark.parametrize(
    "payload",
    [
        struct.pack(">IH", spec.Queue.Declare.INDEX, 0) + b"\x01\xff\x00" + b"\0\0\0\0",
        struct.pack(">IH", spec.Basic.Publish.INDEX, 0) + b"\x00\x02\xc3(\x00",
        struct.pack(">IH", spec.Basic.Publish.INDEX, 0) + b"\x01\xff\x00\x00",
    ],
)
def test_names_that_are_no_utf8_end_their_client_only(payload: bytes) -> None:
    """RabbitMQ answers with 501 on the connection; names in other letters than ASCII go on."""
    host = running(Host())
    opened(host, 1)
    host.session.feed(b"".join(content(1, b"body", routing_key="größe")))
    assert host.session.forwarded == 1
    host.told("upstream")
    host.session.feed(struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce")
    assert [(number, told.reply_code) for number, told in host.told()] == [(0, 501)]
    assert {type(told) for _, told in host.told("upstream")} == {spec.Channel.Close}
