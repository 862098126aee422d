"""A vhost with a queue of work and its dead letters, parked as a worker parks them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rmqpool import ConnectionPool, Delivery, Publisher, Queue
from rmqpool import headers as names
from rmqpool.dlq import DeadLetterQueue, Selection
from rmqpool.testing.waiting import wait_until
from rmqpool.topology import expand


class Shop:
    """``orders`` and ``orders.dead`` on a vhost of the test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = ConnectionPool(url)
        self.pool.declare_once(expand([Queue("orders")]))
        self.publisher = Publisher(self.pool)
        self.letters = DeadLetterQueue(self.pool, "orders.dead", timeout=10)

    def park(self, numbers: range, *, queue: str | None = "orders", age: float = 0.0, **headers: Any) -> None:
        """Dead letters with the ids ``m<number>``, parked ``age`` seconds ago."""
        parked_at = (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="milliseconds")
        told = {names.REASON: "exception", names.PARKED_AT: parked_at, names.ATTEMPT: 1, **headers}
        if queue is not None:
            told[names.ORIGINAL_QUEUE] = queue
        futures = [
            self.publisher.submit(
                "orders.dead", {"id": number}, message_id=f"m{number}", headers={**told, "number": number}
            )
            for number in numbers
        ]
        for future in futures:
            future.result()

    def ids(self, queue: str) -> list[str]:
        """The message ids of a queue, in order; they go back."""
        return [letter.message_id for letter in DeadLetterQueue(self.pool, queue).look(Selection())]

    def take_all(self, queue: str) -> list[Delivery]:
        """All messages of a queue; they are gone."""
        with self.pool.channel() as channel:
            return list(channel.basic_consume(queue, auto_ack=True, prefetch=1000, inactivity_timeout=0.5))

    def count(self, queue: str) -> int:
        """Messages ready."""
        with self.pool.channel() as channel:
            return channel.queue_declare(queue, passive=True).message_count

    def wait_count(self, queue: str, count: int) -> None:
        """Wait until that many are ready: what a channel held comes back a moment after it was closed."""
        wait_until(lambda: self.count(queue) == count, f"{count} messages in {queue}", timeout=10)


@pytest.fixture
def shop(vhost_url: str) -> Iterator[Shop]:
    """The shop of this test."""
    made = Shop(vhost_url)
    yield made
    made.pool.close()


def own_headers(delivery: Delivery) -> dict[str, Any]:
    """The headers without the counter that a quorum queue adds to each delivery."""
    return {name: value for name, value in delivery.headers.items() if name != "x-delivery-count"}


def names_of(numbers: Any) -> list[str]:
    """The ids of the messages that ``park`` made."""
    return [f"m{number}" for number in numbers]
