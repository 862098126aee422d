"""Row 6 of the fault matrix: a network that passes one byte at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from faults.harness import Collector, Events, drain, figures, judge, open_pool, publish_recorded
from rmqpool import Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq_node import RabbitMQNode


@pytest.fixture
def proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    """A proxy in front of the shared broker."""
    with FaultProxy((broker.host, broker.port)) as running:
        yield running


def test_a_network_that_passes_one_byte_at_a_time_is_slow_and_not_dead(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str
) -> None:
    """A message takes longer than two heartbeats in either direction; it arrives, once, and no connection is given up."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name)
    url = f"{broker.amqp_url(port=proxy.port, vhost=vhost)}?heartbeat=1"
    with open_pool(url, on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        with Collector(pool, queue, checker) as collector:
            publish_recorded(publisher, queue_name, "before", checker)
            collector.wait_for(1 - collector.received)
            proxy.slice(1, 0.0008)
            began = time.monotonic()
            confirmation = publish_recorded(publisher, queue_name, "large", checker, size=3000, timeout=60.0)
            confirmed = time.monotonic() - began
            collector.wait_for(2 - collector.received, timeout=60.0)
            arrived = time.monotonic() - began
        figures("3,000 bytes: confirmed after %.1f s, arrived after %.1f s", confirmed, arrived)
        assert confirmation.attempts == 1
        assert confirmed > 2.0, "it was not slow"
        assert events.of(LinkEvent.CONNECTION_LOST) == []
        proxy.heal()
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    assert judge(checker).duplicates == 0


def test_connecting_one_byte_at_a_time_makes_progress(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str
) -> None:
    """The handshake ends within its deadlines: no attempt fails, and a message goes through."""
    checker, events = TotalQueueChecker(), Events()
    proxy.slice(1, 0.0008)
    with open_pool(broker.amqp_url(port=proxy.port, vhost=vhost), on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "small", checker, timeout=40.0)
        assert events.of(LinkEvent.CONNECT_FAILED) == []
        assert events.of(LinkEvent.CONNECTION_LOST) == []
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    judge(checker)
