"""What the tests of relays share: an outbox, a queue, and relays that are stopped when the test ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from rmqpool import ConnectionPool, Delivery, Publisher
from rmqpool.outbox import Outbox, Relay
from rmqpool.testing.waiting import wait_until

MakeRelay = Callable[..., Relay]


class Bench:
    """An outbox, a queue, and what came out of it."""

    def __init__(self, amqp: str, database: str, queue: str, stack: ExitStack) -> None:
        self.amqp = amqp
        self.database = database
        self.queue = queue
        self.outbox = Outbox()
        self.pool = stack.enter_context(ConnectionPool(amqp))
        self.publisher = Publisher(self.pool)
        self.declare(queue)
        self.connection = stack.enter_context(psycopg.connect(database, autocommit=True))

    def declare(self, queue: str) -> None:
        with self.pool.channel() as channel:
            channel.queue_declare(queue, durable=True)

    def write(self, *bodies: object, queue: str | None = None, **options: Any) -> list[str]:
        """Commit messages; returns their ids."""
        with self.connection.transaction():
            return [self.outbox.publish(self.connection, queue or self.queue, body, **options) for body in bodies]

    def take(self, count: int, queue: str | None = None, timeout: float = 60.0) -> list[Delivery]:
        """The next messages of the queue, acknowledged."""
        found: list[Delivery] = []

        def get() -> bool:
            with self.pool.channel() as channel:
                while len(found) < count and (delivery := channel.basic_get(queue or self.queue)) is not None:
                    channel.basic_ack(delivery.delivery_tag)
                    found.append(delivery)
            return len(found) >= count

        wait_until(get, f"{count} messages", timeout=timeout)
        return found

    def bodies(self, count: int, **options: Any) -> list[Any]:
        found = self.take(count, **options)
        return [json.loads(one.body) if one.content_type != "text/plain" else one.body.decode() for one in found]

    def count(self, table: str) -> int:
        row = self.connection.execute(f"SELECT count(*) FROM rmqpool_{table}".encode()).fetchone()
        assert row is not None
        return int(row[0])

    def wait_empty(self, *tables: str) -> None:
        for table in tables or ("outbox", "held", "stalled"):
            wait_until(lambda table=table: self.count(table) == 0, f"{table} to be empty", timeout=60)


@pytest.fixture
def bench(vhost_url: str, outbox_url: str, queue_name: str) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(vhost_url, outbox_url, queue_name, stack)


@pytest.fixture
def start(bench: Bench) -> Iterator[MakeRelay]:
    """Starts relays, and stops them."""
    relays: list[Relay] = []

    def make(**options: Any) -> Relay:
        relay = Relay(bench.amqp, bench.database, **options)
        relays.append(relay)
        relay.start()
        return relay

    yield make
    for relay in relays:
        assert relay.stop(), f"{relay!r} did not end in good order"
