"""Batches behind an inbox: one transaction for all, known ones left out, and nobody pays for another's message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from rmqpool import BatchError, ConfigurationError, Delivery, InboxUnavailableError, Publisher, Reject, Worker
from rmqpool.outbox import AsyncInbox, AsyncTransaction, Inbox, OutboxPool, Transaction
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.inbox_bench import MakeWorker, effects

both = pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])


@pytest.fixture
def database(effects_database: str) -> str:
    """The one with the table of effects."""
    return effects_database


def consume(
    worker: Worker,
    queue: str,
    database: str,
    is_async: bool,
    check: Callable[[list[Delivery]], None] = lambda deliveries: None,
    **options: Any,
) -> None:
    """A handler whose effects are rows; ``check`` may raise after they were written."""
    insert = "INSERT INTO effects (id) SELECT unnest(%s::text[])"
    if is_async:

        @worker.consumer(queue, inbox=AsyncInbox(database), **options)
        async def handle_async(
            bodies: list[dict[str, Any]], deliveries: list[Delivery], transaction: AsyncTransaction
        ) -> None:
            await transaction.execute(insert, [[delivery.message_id for delivery in deliveries]])
            check(deliveries)
    else:

        @worker.consumer(queue, inbox=Inbox(database), **options)
        def handle(bodies: list[dict[str, Any]], deliveries: list[Delivery], transaction: Transaction) -> None:
            transaction.execute(insert, [[delivery.message_id for delivery in deliveries]])
            check(deliveries)


def done(worker: Worker) -> int:
    stats = worker.stats()
    return stats.handled + stats.duplicates + stats.parked


@both
def test_each_message_sent_twice_has_its_effect_once(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str, is_async: bool
) -> None:
    """Twins in one batch, and copies in another one that is handled at the same time."""
    worker = make_worker()
    consume(worker, queue_name, database, is_async, batch=20, batch_timeout=0.1, concurrency=3)
    worker.start()
    ids = [f"{number:04}" for number in range(200)]
    for message_id in [*ids, *ids[:100], *(twin for one in ids[100:] for twin in (one, one))]:
        publisher.submit(queue_name, {}, message_id=message_id)
    assert publisher.flush()
    wait_until(lambda: done(worker) == 500, "all deliveries", timeout=30)
    assert effects(database) == ids
    stats = worker.stats()
    assert (stats.handled, stats.duplicates, stats.parked) == (200, 300, 0)


@both
def test_one_that_is_named_is_parked_and_the_others_have_their_effect_once(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str, is_async: bool
) -> None:
    """The transaction is rolled back, and the handler called again with the others."""
    sizes: list[int] = []

    def check(deliveries: list[Delivery]) -> None:
        sizes.append(len(deliveries))
        bad = {one: Reject("bad") for one in deliveries if one.message_id == "3"}
        if bad:
            raise BatchError(bad)

    worker = make_worker()
    consume(worker, queue_name, database, is_async, check, batch=6, batch_timeout=30, concurrency=1)
    worker.start()
    for number in range(6):
        publisher.submit(queue_name, {}, message_id=str(number))
    assert publisher.flush()
    wait_until(lambda: done(worker) == 6, "all deliveries", timeout=20)
    assert effects(database) == ["0", "1", "2", "4", "5"]
    assert sizes == [6, 5]
    assert worker.stats().parked == 1


@both
def test_a_batch_that_fails_has_no_effect_and_no_mark(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str, is_async: bool
) -> None:
    """Each message is parked, so a replay can handle it."""

    def check(deliveries: list[Delivery]) -> None:
        raise RuntimeError("no")

    worker = make_worker()
    consume(worker, queue_name, database, is_async, check, batch=3, batch_timeout=30)
    worker.start()
    for number in range(3):
        publisher.submit(queue_name, {}, message_id=str(number))
    assert publisher.flush()
    wait_until(lambda: worker.stats().parked == 3, "all to be parked", timeout=20)
    assert effects(database) == []
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM rmqpool_inbox").fetchone() == (0,)


@both
def test_an_id_that_postgres_does_not_take_fails_alone(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str, is_async: bool
) -> None:
    """And a message without an id is parked before."""
    worker = make_worker()
    consume(worker, queue_name, database, is_async, batch=4, batch_timeout=30)
    worker.start()
    for message_id in ("a", "b\x00", "c", "d"):
        publisher.submit(queue_name, {}, message_id=message_id)
    assert publisher.flush()
    wait_until(lambda: done(worker) == 4, "all deliveries", timeout=20)
    assert effects(database) == ["a", "c", "d"]
    assert worker.stats().parked == 1


@both
def test_nothing_is_lost_while_postgres_is_away(
    make_worker: MakeWorker,
    publisher: Publisher,
    database: str,
    postgres: PostgresServer,
    queue_name: str,
    is_async: bool,
) -> None:
    """Its sessions are ended again and again; every effect happens once."""
    worker = make_worker()
    consume(worker, queue_name, database, is_async, batch=10, batch_timeout=0.1, concurrency=2, prefetch=20)
    worker.start()
    ids = [f"{number:04}" for number in range(300)]
    for message_id in ids:
        publisher.submit(queue_name, {}, message_id=message_id)
    assert publisher.flush()
    for share in (30, 90, 150):
        wait_until(lambda share=share: done(worker) >= share, f"{share} handled", timeout=30)
        postgres.terminate_backends()
    wait_until(lambda: done(worker) == 300, "all of them", timeout=30)
    assert effects(database) == ids
    assert worker.stats().parked == 0


def test_many_are_marked_in_one_transaction(database: str) -> None:
    """It tells which are new; the wait for somebody else ends, and the handler's statements wait as before."""
    with OutboxPool(database, max_size=2) as pool:
        inbox = Inbox(pool, timeout=0.2)
        with inbox.transaction_for_many("c", ["1", "2", "2"]) as (transaction, fresh):
            assert fresh == {"1", "2"}
            assert transaction.execute("SHOW lock_timeout").fetchone() == ("0",)
            with pytest.raises(InboxUnavailableError, match="for too long"), inbox.transaction_for_many("c", ["2"]):
                pass
        with inbox.transaction_for_many("c", ["3", "2"]) as (_, fresh):
            assert fresh == {"3"}


def test_an_inbox_that_takes_no_batches_is_refused(make_worker: MakeWorker, database: str) -> None:
    """At registration."""

    class Small:
        is_async, consumer = False, None
        open = close = transaction = lambda self, *arguments: None

    with pytest.raises(ConfigurationError, match="takes no batches"):
        make_worker().consumer("orders", batch=5, inbox=Small())(lambda bodies: None)  # type: ignore[arg-type]
