"""What the tests of consumers share: an inbox that is filled on the I/O thread, and what the broker tells."""

from __future__ import annotations

import queue as queues
from typing import Any

from rmqpool import ConnectionPool, Delivery, Queue
from rmqpool.consumer import ConsumerEvent
from rmqpool.testing.rabbitmq import RabbitMQNode


class Inbox:
    """Takes deliveries and events from the I/O thread."""

    def __init__(self) -> None:
        self.deliveries: queues.SimpleQueue[Delivery] = queues.SimpleQueue()
        self.events: list[ConsumerEvent] = []

    def next(self) -> Delivery:
        return self.deliveries.get(timeout=5)

    def put_event(self, event: ConsumerEvent, sentence: str) -> None:
        assert sentence
        self.events.append(event)


def total(broker: RabbitMQNode, vhost: str, queue: Queue) -> int:
    """What the broker has in the queue, ready or unacknowledged."""
    (row,) = [row for row in broker.list_queues(vhost) if row["name"] == queue.name]
    return int(row["messages"])


def consume_channels(broker: RabbitMQNode, vhost: str) -> list[dict[str, Any]]:
    """Every open channel of the vhost, but for the one idle channel of the lease connection."""
    return [row for row in broker.list_channels() if row["vhost"] == vhost and row["prefetch_count"]]


def count(pool: ConnectionPool, queue: Queue) -> int:
    with pool.channel() as channel:
        return channel.queue_declare(queue.name, passive=True).message_count
