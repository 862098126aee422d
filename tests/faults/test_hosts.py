"""Row 29 of the fault matrix: hosts that are dead, and names that point somewhere else at the next attempt."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from faults.harness import Events, drain, judge, open_pool, publish_recorded
from rmqpool import Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.settings import ConnectionSettings, Secret
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq_node import RabbitMQNode


@pytest.fixture
def proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    """A proxy in front of the shared broker."""
    with FaultProxy((broker.host, broker.port)) as running:
        yield running


def _settings(broker: RabbitMQNode, vhost: str, *hosts: tuple[str, int]) -> ConnectionSettings:
    return ConnectionSettings(
        hosts=hosts, user=broker.user, password=Secret(broker.password), vhost=vhost, reconnect_max_delay=0.5
    )


def test_every_host_is_tried_in_turn_and_dead_ones_are_passed_over(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str
) -> None:
    """Two of three hosts are closed ports: after each disconnect the rotation goes through both and ends at the live one."""
    checker, events = TotalQueueChecker(), Events()
    dead = [ReservedPort(), ReservedPort()]
    hosts = [*(("127.0.0.1", port.number) for port in dead), ("127.0.0.1", proxy.port)]
    with open_pool(_settings(broker, vhost, *hosts), on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "first", checker)
        for number in range(3):
            lost = len(events.of(LinkEvent.CONNECTION_LOST, role="publish"))
            proxy.reset()
            events.wait_for(LinkEvent.CONNECTION_LOST, role="publish", count=lost + 1)
            assert publish_recorded(publisher, queue_name, f"m-{number}", checker).outcome == "confirmed"
        failed = [event.sentence for event in events.of(LinkEvent.CONNECT_FAILED, role="publish")]
        for port in dead:
            refusals = [sentence for sentence in failed if f"127.0.0.1:{port.number} " in sentence]
            assert 3 <= len(refusals) <= 4, "each dead host once in each round (and at most once before the first)"
            assert all("nothing listens there" in sentence for sentence in refusals)
    for port in dead:
        port.release()
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    assert judge(checker).received == 4


def test_a_name_is_looked_up_again_at_each_attempt(
    broker: RabbitMQNode, vhost: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """localhost points to a closed port at first and to the broker later: the change is seen at the next attempt."""
    dead = ReservedPort()
    real, ports, asked = socket.getaddrinfo, [dead.number], []

    def changing(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "localhost":
            return real(host, port, *arguments, **options)
        asked.append(ports[-1])
        return real("127.0.0.1", ports[-1], *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    checker, events = TotalQueueChecker(), Events()
    with open_pool(_settings(broker, vhost, ("localhost", broker.port)), on_event=events) as pool:
        pool.open(wait=False)
        events.wait_for(LinkEvent.CONNECT_FAILED, count=3)
        ports.append(broker.port)
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        assert publish_recorded(publisher, queue_name, "m", checker, timeout=10.0).outcome == "confirmed"
        attempts = sum(connection.attempts for connection in pool.stats().connections)
        assert len(asked) == attempts >= 4, "one look-up for each attempt"
        assert asked[:3] == [dead.number] * 3
        assert asked[-1] == broker.port
    dead.release()
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    judge(checker)


def test_every_address_of_a_name_is_tried(
    broker: RabbitMQNode, vhost: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a dead and a living address connects at the first attempt."""
    dead = ReservedPort()
    real = socket.getaddrinfo

    def two(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        addresses = real(host, port, *arguments, **options)
        return (
            [*real("127.0.0.1", dead.number, *arguments, **options), *addresses] if host == "localhost" else addresses
        )

    monkeypatch.setattr(socket, "getaddrinfo", two)
    events = Events()
    with open_pool(_settings(broker, vhost, ("localhost", broker.port)), on_event=events) as pool:
        pool.open()
        assert not events.of(LinkEvent.CONNECT_FAILED)
        assert pool.stats().publish[0].attempts == 1
    dead.release()


def test_an_unknown_host_is_named(broker: RabbitMQNode) -> None:
    """A name that no name server knows: the error names it and the stage, and the pool goes on trying."""
    events = Events()
    with open_pool(_settings(broker, "/", ("no-such-host.invalid", 5672)), on_event=events) as pool:
        pool.open(wait=False)
        failed = events.wait_for(LinkEvent.CONNECT_FAILED, count=2)
        assert "the host name 'no-such-host.invalid' cannot be resolved" in failed[0].sentence
        error = pool.stats().publish[0].last_error
        assert getattr(error, "stage", "") == "dns"
