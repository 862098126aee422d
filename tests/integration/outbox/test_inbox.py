"""The inbox' promises: the effect happens once, with its mark, or not at all; nothing is lost while Postgres is away."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import psycopg
import psycopg_pool
import pytest

from rmqpool import ConfigurationError, ConnectionPool, Delivery, InboxUnavailableError, Publisher, Worker
from rmqpool.outbox import AsyncInbox, AsyncTransaction, Inbox, OutboxPool, Relay, Transaction
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.inbox_bench import MakeWorker, effects


@pytest.fixture
def database(effects_database: str) -> str:
    """The one with the table of effects."""
    return effects_database


def handle_with(worker: Worker, queue: str, inbox: Inbox, **options: Any) -> None:
    """A handler whose effect is a row."""

    @worker.consumer(queue, inbox=inbox, **options)
    def handle(body: dict[str, Any], delivery: Delivery, transaction: Transaction) -> None:
        transaction.execute("INSERT INTO effects VALUES (%s, %s)", [delivery.message_id, "sync"])


def test_each_message_sent_twice_has_its_effect_once(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str
) -> None:
    """By two workers at once."""
    workers = [make_worker(), make_worker()]
    for worker in workers:
        handle_with(worker, queue_name, Inbox(database), concurrency=4)
        worker.start()
    ids = [f"{number:04}" for number in range(500)]
    for message_id in ids + ids:
        publisher.submit(queue_name, {}, message_id=message_id)
    assert publisher.flush()
    wait_until(
        lambda: sum(worker.stats().handled + worker.stats().duplicates for worker in workers) == 1000,
        "all deliveries",
        timeout=40,
    )
    assert effects(database) == ids
    assert sum(worker.stats().duplicates for worker in workers) == 500


def test_async_handlers_have_it_too(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str
) -> None:
    """With an AsyncInbox, on the worker's loop."""
    worker = make_worker()

    @worker.consumer(queue_name, inbox=AsyncInbox(database), concurrency=8)
    async def handle(body: dict[str, Any], delivery: Delivery, transaction: AsyncTransaction) -> None:
        await asyncio.sleep(0)
        await transaction.execute("INSERT INTO effects VALUES (%s, 'async')", [delivery.message_id])

    worker.start()
    ids = [f"{number:04}" for number in range(200)]
    for message_id in ids + ids:
        publisher.submit(queue_name, {}, message_id=message_id)
    wait_until(lambda: worker.stats().handled + worker.stats().duplicates == 400, "all deliveries", timeout=40)
    assert effects(database) == ids
    assert worker.stop(5.0)


def test_what_the_handler_raises_rolls_effect_and_mark_back(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str
) -> None:
    """The message comes again, and is handled then."""
    worker = make_worker()
    attempts: list[str] = []

    @worker.consumer(queue_name, inbox=Inbox(database), on_error="requeue")
    def handle(body: dict[str, Any], delivery: Delivery, transaction: Transaction) -> None:
        transaction.execute("INSERT INTO effects VALUES (%s, 'x')", [delivery.message_id])
        attempts.append(str(delivery.message_id))
        if len(attempts) < 3:
            raise ValueError("not yet")

    worker.start()
    publisher.publish(queue_name, {}, message_id="m")
    wait_until(lambda: worker.stats().handled == 1, "the third attempt", timeout=60)
    assert attempts == ["m"] * 3
    assert effects(database) == ["m"]


def test_what_it_publishes_is_committed_with_the_mark(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str, vhost_url: str
) -> None:
    """From the inbox into the outbox, in one transaction; a relay beside the consumers sends it on."""
    worker = make_worker()
    following = f"{queue_name}-next"

    @worker.consumer(queue_name, inbox=Inbox(database))
    def handle(body: dict[str, Any], transaction: Transaction) -> None:
        transaction.publish(following, {"after": body["id"]})

    received: list[dict[str, Any]] = []

    @worker.consumer(following)
    def handle_next(body: dict[str, Any]) -> None:
        received.append(body)

    worker.add_service(Relay(vhost_url, database))
    worker.start()
    for _ in range(2):
        publisher.publish(queue_name, {"id": 7}, message_id="m")
    wait_until(lambda: worker.stats().duplicates == 1, "the second delivery", timeout=60)
    wait_until(lambda: received, "the message that follows", timeout=60)
    assert worker.stop(5.0)
    assert received == [{"after": 7}]


def test_a_service_that_dies_ends_the_worker(make_worker: MakeWorker, publisher: Publisher, queue_name: str) -> None:
    """A worker without its relay would look well and do half of its work."""

    class Dying:
        name = "dying"
        failure: BaseException | None = None
        stopped = False

        def start(self) -> None:
            return None

        def stop(self, timeout: float) -> bool:
            self.stopped = True
            return True

    worker, service = make_worker(), Dying()
    worker.consumer(queue_name)(lambda body: None)
    worker.add_service(service)
    worker.start()
    service.failure = RuntimeError("of itself")
    assert worker.wait(10)
    assert service.stopped
    assert worker.stats().state == "stopped"


def test_a_message_without_an_id_is_parked(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str, vhost_url: str
) -> None:
    """Nobody could know it again."""
    worker = make_worker()
    handle_with(worker, queue_name, Inbox(database))
    worker.start()
    with ConnectionPool(vhost_url) as pool, pool.channel() as channel:
        channel.basic_publish("", queue_name, b"{}")
        wait_until(lambda: worker.stats().parked == 1, "it to be parked", timeout=60)
        parked = channel.basic_get(f"{queue_name}.dead")
        assert parked is not None
        assert parked.headers["x-rmqpool-reason"] == "no-message-id"
        channel.basic_ack(parked.delivery_tag)


def test_while_postgres_is_away_messages_are_kept(
    make_worker: MakeWorker, publisher: Publisher, postgres: PostgresServer, database: str, queue_name: str
) -> None:
    """Neither parked nor sent back again and again: they are handled when it is there."""
    worker = make_worker()
    handle_with(worker, queue_name, Inbox(database, timeout=0.3), concurrency=2)
    worker.start()
    publisher.publish(queue_name, {}, message_id="before")
    wait_until(lambda: worker.stats().handled == 1, "the first one", timeout=60)
    postgres.stop()
    for number in range(20):
        publisher.publish(queue_name, {}, message_id=f"{number:02}")
    wait_until(lambda: worker.stats().postponed >= 4, "some to be postponed", timeout=60)
    postgres.start()
    wait_until(lambda: worker.stats().handled == 21, "all of them", timeout=30)
    stats = worker.stats()
    assert (stats.parked, stats.failed, stats.requeued) == (0, 0, 0)
    assert len(effects(database)) == 21


def test_backends_that_are_terminated_double_nothing(
    make_worker: MakeWorker, publisher: Publisher, postgres: PostgresServer, database: str, queue_name: str
) -> None:
    """In a statement, at a COMMIT, while idle: the inbox knows what was done."""
    worker = make_worker()
    handle_with(worker, queue_name, Inbox(database), concurrency=4)
    worker.start()
    ids = [f"{number:04}" for number in range(400)]
    for message_id in ids:
        publisher.submit(queue_name, {}, message_id=message_id)
    for share in (50, 150, 250):
        wait_until(lambda share=share: worker.stats().handled >= share, f"{share} handled", timeout=30)
        postgres.terminate_backends()
    wait_until(lambda: worker.stats().handled + worker.stats().duplicates == 400, "all of them", timeout=30)
    assert effects(database) == ids


def test_two_that_handle_the_same_message_at_once_wait_for_each_other(database: str) -> None:
    """The second finds it done; or does it, if the first one rolled back."""
    with OutboxPool(database, max_size=4) as pool:
        inbox = Inbox(pool)
        entered, leave = threading.Event(), threading.Event()
        found: list[bool] = []

        def first() -> None:
            with inbox.transaction("c", "m") as transaction:
                assert transaction is not None
                entered.set()
                assert leave.wait(10)

        def second() -> None:
            with inbox.transaction("c", "m") as transaction:
                found.append(transaction is None)

        threads = [threading.Thread(target=first), threading.Thread(target=second)]
        threads[0].start()
        assert entered.wait(10)
        threads[1].start()
        with psycopg.connect(database, autocommit=True) as watcher:
            wait_until(
                lambda: watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (1,),
                "the second one to wait",
                timeout=10,
            )
        leave.set()
        for thread in threads:
            thread.join(10)
        assert found == [True]


def test_the_wait_for_another_one_ends(database: str) -> None:
    """Whoever holds the message for too long is not waited for."""
    with OutboxPool(database) as pool:
        inbox, other = Inbox(pool, timeout=0.2), Inbox(pool)
        with (
            other.transaction("c", "m"),
            pytest.raises(InboxUnavailableError, match="for too long"),
            inbox.transaction("c", "m"),
        ):
            pass


def test_the_handlers_own_statements_wait_as_long_as_before(database: str) -> None:
    """The inbox' bound is for its own statement only."""
    with OutboxPool(database) as pool, Inbox(pool, timeout=0.2).transaction("c", "m") as transaction:
        assert transaction is not None
        assert transaction.execute("SHOW lock_timeout").fetchone() == ("0",)
    options = "?options=-c%20lock_timeout%3D7s"
    with OutboxPool(database + options) as pool, Inbox(pool, timeout=0.2).transaction("c", "n") as transaction:
        assert transaction is not None
        assert transaction.execute("SHOW lock_timeout").fetchone() == ("7s",)


def test_an_error_of_the_handlers_other_database_is_its_own(database: str) -> None:
    """Not a reason to keep the message and try for ever: the inbox' database answers."""
    with OutboxPool(database) as pool, pytest.raises(psycopg.OperationalError), Inbox(pool).transaction("c", "m"):
        psycopg.connect("postgresql://127.0.0.1:1/elsewhere", connect_timeout=2)


def test_an_inbox_without_its_table_keeps_the_message_and_says_what_to_do(database: str) -> None:
    """Nobody has to look for a migration in a dead-letter queue."""
    with psycopg.connect(database) as connection:
        connection.execute("DROP TABLE rmqpool_inbox")
    with (
        OutboxPool(database) as pool,
        pytest.raises(InboxUnavailableError, match="rmqpool outbox migrate"),
        Inbox(pool).transaction("c", "m"),
    ):
        raise AssertionError("the handler was called")


def test_a_message_id_that_postgres_does_not_take_is_the_messages_fault(database: str) -> None:
    """It would be tried for ever."""
    with OutboxPool(database) as pool, pytest.raises(psycopg.DataError), Inbox(pool).transaction("c", "a\x00b"):
        raise AssertionError("the handler was called")


def test_the_transaction_is_given_by_its_type_too(
    make_worker: MakeWorker, publisher: Publisher, database: str, queue_name: str
) -> None:
    """Whatever the parameter is called."""
    worker = make_worker()

    @worker.consumer(queue_name, inbox=Inbox(database))
    def handle(body: dict[str, Any], tx: Transaction) -> None:
        tx.execute("INSERT INTO effects VALUES ('by type', 'x')")

    worker.start()
    publisher.publish(queue_name, {}, message_id="m")
    wait_until(lambda: worker.stats().handled == 1, "the message", timeout=60)
    assert effects(database) == ["by type"]


def test_consumers_are_apart(database: str) -> None:
    """The same message for another consumer is another message."""
    with OutboxPool(database) as pool:
        inbox = Inbox(pool)
        for consumer in ("a", "b"):
            with inbox.transaction(consumer, "m") as transaction:
                assert transaction is not None
        with inbox.transaction("a", "m") as transaction:
            assert transaction is None


def test_many_are_marked_in_one_statement(database: str) -> None:
    """Those that are new come back, each once."""
    with OutboxPool(database) as pool, pool.transaction() as transaction:
        inbox = Inbox(pool)
        assert inbox.mark_many(transaction, "c", ["a", "b", "a"]) == {"a", "b"}
        assert inbox.mark_many(transaction, "c", ["b", "c"]) == {"c"}


def test_old_marks_are_pruned_in_chunks(database: str) -> None:
    """What is younger stays."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO rmqpool_inbox SELECT 'c', n::text, clock_timestamp() - interval '10 days'"
            " FROM generate_series(1, 2500) AS n"
        )
        connection.execute("INSERT INTO rmqpool_inbox VALUES ('c', 'young')")
        connection.execute("INSERT INTO rmqpool_inbox VALUES ('c', 'old', clock_timestamp() - interval '4 days')")
    assert Inbox(database).prune(timedelta(days=5), chunk=1000) == 2500
    assert asyncio.run(AsyncInbox(database).prune(3 * 86_400.0)) == 1
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT message_id FROM rmqpool_inbox").fetchall() == [("young",)]


def test_the_applications_own_pool_is_used(database: str) -> None:
    """And not closed."""
    with psycopg_pool.ConnectionPool(database, min_size=1, open=True) as own:
        inbox = Inbox(own)
        inbox.open(4)
        with inbox.transaction("c", "m") as transaction:
            assert transaction is not None
        inbox.close()
        with own.connection() as connection:
            assert connection.execute("SELECT count(*) FROM rmqpool_inbox").fetchone() == (1,)


def test_mistakes_show_when_the_handler_is_registered(make_worker: MakeWorker, queue_name: str) -> None:
    """Not at the first message."""
    worker = make_worker()
    inbox, async_inbox = Inbox("postgresql://localhost/x"), AsyncInbox("postgresql://localhost/x")

    def handle(body: bytes, transaction: Transaction) -> None: ...

    async def handle_async(body: bytes) -> None: ...

    for function, options, words in (
        (handle, {}, "an inbox"),
        (handle, {"inbox": async_inbox}, "give its consumer an Inbox"),
        (handle_async, {"inbox": inbox}, "give its consumer an AsyncInbox"),
        (handle, {"inbox": "postgresql://localhost/x"}, "must be an Inbox"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            worker.consumer(queue_name, **options)(function)  # type: ignore[arg-type]
