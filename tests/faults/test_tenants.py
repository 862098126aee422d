"""One tenant's broken broker slows no other tenant."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from rmqpool import PoolManager, Queue
from rmqpool.errors import PublishError
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0  # seconds: for a machine that is much slower


@pytest.fixture
def proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    with FaultProxy((broker.host, broker.port)) as fault_proxy:
        yield fault_proxy


def test_a_tenant_in_a_black_hole_slows_no_other(
    broker: RabbitMQNode, vhost: str, queue_name: str, proxy: FaultProxy
) -> None:
    """While its publishes hang and its old pool is being closed, others open, publish, give way and are closed."""
    direct = broker.amqp_url(vhost=vhost)
    through_proxy = broker.amqp_url(vhost=vhost, host="127.0.0.1", port=proxy.port)

    def url_of(tenant: str) -> str:
        return through_proxy if tenant.startswith("broken") else direct

    outcomes: list[str] = []

    def publish_into_the_hole() -> None:
        try:
            with manager.publisher("broken") as publisher:
                publisher.publish(queue_name, b"lost", timeout=2 * PATIENCE)
        except PublishError as error:
            outcomes.append(error.outcome)

    declare = [Queue(queue_name)]
    manager = PoolManager(url_of, max_pools=3, close_timeout=PATIENCE, declare=declare)
    try:
        for tenant in ("broken", "broken too"):
            with manager.publisher(tenant) as publisher:
                publisher.publish(queue_name, b"while it works")
        proxy.blackhole()
        hanging = [threading.Thread(target=publish_into_the_hole) for _ in range(4)]
        for thread in hanging:
            thread.start()
        wait_until(lambda: manager.stats().tenants["broken"].users == 4, "the hanging publishes", timeout=PATIENCE)
        manager.discard("broken too")  # nobody uses it, and its broker answers no close
        for tenant in ("a", "b", "c", "a", "b"):
            with manager.publisher(tenant) as publisher:
                assert publisher.publish(queue_name, {"tenant": tenant}, timeout=PATIENCE).message_id
        assert all(thread.is_alive() for thread in hanging), (
            "the publishes into the black hole have ended: nothing is shown"
        )
        assert manager.stats().evicted == 3
    finally:
        manager.close(timeout=1.0)
    for thread in hanging:
        thread.join(PATIENCE)
    assert len(outcomes) == 4
    assert set(outcomes) <= {"unknown", "not_sent"}
    wait_until(lambda: not manager.stats().closing, "the end of every pool", timeout=PATIENCE)


def test_each_tenants_messages_are_its_own(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """By virtual host: one has the message, the other does not even have the queue."""
    url = broker.amqp_url(vhost=vhost).removesuffix(vhost) + "{tenant}"
    with PoolManager(url, declare=[Queue(queue_name)]) as manager:
        with manager.publisher(vhost) as publisher:
            publisher.publish(queue_name, b"mine")
        with manager.pool(vhost) as pool, pool.channel() as channel:
            delivery = channel.basic_get(queue_name, auto_ack=True)
            assert delivery is not None
            assert delivery.body == b"mine"
        stats = manager.stats()
        assert stats.tenants[vhost].pool is not None
        assert stats.tenants[vhost].pool.connects == 2
