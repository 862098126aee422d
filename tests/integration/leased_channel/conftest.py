"""A leased channel, a queue of the test's own, and what the broker has in it."""

from collections.abc import Callable, Iterator

import pytest

from rmqpool import ConnectionPool, LeasedChannel
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until


@pytest.fixture
def channel(pool: ConnectionPool) -> Iterator[LeasedChannel]:
    with pool.channel() as leased:
        yield leased


@pytest.fixture
def queue(channel: LeasedChannel, queue_name: str) -> str:
    """A classic queue of the test's own."""
    return channel.queue_declare(queue_name).queue


@pytest.fixture
def holds_nothing(broker: RabbitMQNode, vhost: str) -> Callable[[str], None]:
    """Waits until the broker has nothing in the queue, neither ready nor unacknowledged."""

    def check(queue: str) -> None:
        def total() -> int:
            (row,) = [row for row in broker.list_queues(vhost) if row["name"] == queue]
            return int(row["messages"])

        wait_until(lambda: total() == 0, "an empty queue", timeout=5)

    return check


def fill(channel: LeasedChannel, queue: str, *bodies: bytes) -> None:
    for body in bodies:
        channel.basic_publish("", queue, body)
