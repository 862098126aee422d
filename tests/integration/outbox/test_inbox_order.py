"""Order by key behind an inbox: what is postponed keeps its place."""

from __future__ import annotations

import psycopg
import pytest

from rmqpool import Delivery, Publisher, Queue, Worker
from rmqpool.outbox import AsyncInbox, AsyncTransaction, Inbox, Transaction
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until

INSERT = "INSERT INTO effects (key, number) VALUES (%s, %s)"


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
def test_order_by_key_is_kept_while_postgres_is_away(
    vhost_url: str, queue_name: str, postgres: PostgresServer, outbox_url: str, is_async: bool
) -> None:
    """Its sessions are ended in the middle: each key's effects are in order, each of them once."""
    with psycopg.connect(outbox_url) as connection:
        connection.execute("CREATE TABLE effects (id bigserial, key text, number int)")
    worker = Worker("tested", vhost_url)
    options = {"concurrency": 4, "prefetch": 200, "key": lambda delivery: delivery.headers["key"]}
    if is_async:

        @worker.consumer(queue_name, inbox=AsyncInbox(outbox_url), **options)
        async def handle_async(number: int, delivery: Delivery, transaction: AsyncTransaction) -> None:
            await transaction.execute(INSERT, [delivery.headers["key"], number])
    else:

        @worker.consumer(queue_name, inbox=Inbox(outbox_url), **options)
        def handle(number: int, delivery: Delivery, transaction: Transaction) -> None:
            transaction.execute(INSERT, [delivery.headers["key"], number])

    def done() -> int:
        stats = worker.stats()
        return stats.handled + stats.duplicates

    with Publisher(vhost_url, declare=[Queue(queue_name)]) as publisher, worker:
        for number in range(60):
            for key in "abcde":
                publisher.submit(queue_name, number, headers={"key": key})
        assert publisher.flush()
        for share in (60, 140, 220):
            wait_until(lambda share=share: done() >= share, f"{share} handled", timeout=20)
            postgres.terminate_backends()
        wait_until(lambda: done() == 300, "all of them", timeout=20)
    with psycopg.connect(outbox_url) as connection:
        for key in "abcde":
            rows = connection.execute("SELECT number FROM effects WHERE key = %s ORDER BY id", [key]).fetchall()
            assert [number for (number,) in rows] == list(range(60))
    assert worker.stats().postponed > 0
