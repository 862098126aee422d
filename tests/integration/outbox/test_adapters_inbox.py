"""Workers whose inbox is on the application's own pool: effects once, by the library's own means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from rmqpool import Delivery, Publisher, Worker
from rmqpool.outbox import AsyncInbox, AsyncTransaction, Inbox, Transaction
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.inbox_bench import MakeWorker, effects
from tests.integration.outbox.lenders import APPLICATIONS, Application

IDS = [f"{number:03}" for number in range(60)]


@pytest.fixture
def applications(effects_database: str) -> Iterator[dict[str, Application]]:
    """One of each kind that blocks, on the database with the table of effects."""
    with ExitStack() as stack:
        found = {name: APPLICATIONS[name](effects_database, size=2) for name in ("engine-psycopg2", "django-pool")}
        for one in found.values():
            stack.callback(one.close)
        yield found


def handle_twice(worker: Worker, publisher: Publisher, queue: str) -> None:
    """Each message is sent twice; ends when all are handled."""
    worker.start()
    for message_id in IDS + IDS:
        publisher.submit(queue, {}, message_id=message_id)
    assert publisher.flush()
    done = 2 * len(IDS)
    wait_until(lambda: worker.stats().handled + worker.stats().duplicates == done, "all deliveries", timeout=60)
    assert worker.stop(30.0)


@pytest.mark.parametrize("name", ["engine-psycopg2", "django-pool"])
def test_each_message_has_its_effect_once(
    name: str,
    applications: dict[str, Application],
    make_worker: MakeWorker,
    publisher: Publisher,
    effects_database: str,
    queue_name: str,
) -> None:
    """More handlers than connections; each writes with the library's own connection; and every connection is back."""
    worker, application = make_worker(), applications[name]

    @worker.consumer(queue_name, inbox=Inbox(application.handed), concurrency=4)
    def handle(body: dict[str, Any], delivery: Delivery, transaction: Transaction) -> None:
        connection: Any = transaction.connection
        if name == "engine-psycopg2":
            connection.execute(sqlalchemy.text("INSERT INTO effects VALUES (:id, 'x')"), {"id": delivery.message_id})
        else:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO effects VALUES (%s, 'x')", [delivery.message_id])

    handle_twice(worker, publisher, queue_name)
    assert effects(effects_database) == IDS
    wait_until(lambda: application.out() == 0, "all connections to be back", timeout=60)
    assert application.is_open()


def test_coroutines_have_an_async_engine(
    make_worker: MakeWorker, publisher: Publisher, effects_database: str, queue_name: str
) -> None:
    """One that is made with the program, as engines are: its connections come with the worker's loop, and end there."""
    engine = create_async_engine(effects_database.replace(":", "+asyncpg:", 1), poolclass=sqlalchemy.NullPool)
    worker = make_worker()

    @worker.consumer(queue_name, inbox=AsyncInbox(engine), concurrency=4)
    async def handle(body: dict[str, Any], delivery: Delivery, transaction: AsyncTransaction) -> None:
        await transaction.execute("INSERT INTO effects VALUES ($1, 'x')", [delivery.message_id])
        if delivery.message_id == IDS[-1]:
            await transaction.publish("mails", {"id": delivery.message_id})

    handle_twice(worker, publisher, queue_name)
    assert effects(effects_database) == IDS


def test_a_postgres_that_goes_away_is_not_the_messages_fault(
    applications: dict[str, Application],
    make_worker: MakeWorker,
    publisher: Publisher,
    effects_database: str,
    postgres: PostgresServer,
    queue_name: str,
) -> None:
    """Restarted under the handlers: messages wait and come again, none is parked, each has its effect once."""
    worker = make_worker()

    @worker.consumer(queue_name, inbox=Inbox(applications["engine-psycopg2"].handed), concurrency=2)
    def handle(body: dict[str, Any], delivery: Delivery, transaction: Transaction) -> None:
        transaction.execute("INSERT INTO effects VALUES (%s, 'x')", [delivery.message_id])
        if delivery.message_id == IDS[0] and not stopped:
            stopped.append(True)
            postgres.restart("immediate")

    stopped: list[bool] = []
    worker.start()
    for message_id in IDS:
        publisher.publish(queue_name, {}, message_id=message_id)
    wait_until(lambda: worker.stats().handled == len(IDS), "all deliveries", timeout=60)
    assert worker.stats().parked == 0
    assert worker.stop(30.0)
    assert effects(effects_database) == IDS
