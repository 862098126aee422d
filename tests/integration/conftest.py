"""Pools for the integration tests, closed at the end of each, with nothing of theirs left behind."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rmqpool import ConnectionPool, Consumer, Publisher, Queue
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.integration.consumer_inbox import Inbox

MakePool = Callable[..., ConnectionPool]


def engine_threads() -> set[threading.Thread]:
    """The I/O threads that live in this process."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("rmqpool ")}


@pytest.fixture
def make_pool(vhost_url: str) -> Iterator[MakePool]:
    """Makes pools on the test's own vhost; all are closed at the end, and their threads must be gone then."""
    before = engine_threads()
    pools: list[ConnectionPool] = []

    def make(url: str = vhost_url, **options: Any) -> ConnectionPool:
        pools.append(ConnectionPool(url, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()
    wait_until(lambda: engine_threads() <= before, "the end of all I/O threads", timeout=5)


@pytest.fixture
def pool(make_pool: MakePool) -> ConnectionPool:
    """A pool on the test's own vhost."""
    return make_pool()


@pytest.fixture
def connections(broker: RabbitMQNode, vhost: str) -> Callable[..., list[dict[str, Any]]]:
    """The broker's list of the connections in the test's vhost, those of one role if it is given."""

    def listed(role: str = "") -> list[dict[str, Any]]:
        rows = [row for row in broker.list_connections() if row["vhost"] == vhost]
        return [row for row in rows if f":{role}" in (row["user_provided_name"] or "")]

    return listed


@pytest.fixture
def queue(queue_name: str) -> Queue:
    """A classic queue of the test's own, not yet declared."""
    return Queue(queue_name, type="classic", dead_letter=False)


@pytest.fixture
def publisher(pool: ConnectionPool, queue: Queue) -> Publisher:
    """Declares that queue."""
    return Publisher(pool, declare=[queue])


@pytest.fixture
def inbox() -> Inbox:
    """What a consumer tells."""
    return Inbox()


@pytest.fixture
def consumer(pool: ConnectionPool, queue: Queue, inbox: Inbox) -> Iterator[Consumer]:
    """A consumer of that queue, which fills the inbox."""
    with Consumer(pool, queue, inbox.deliveries.put, prefetch=10, on_event=inbox.put_event) as consumer:
        consumer.wait_ready(10)
        yield consumer
