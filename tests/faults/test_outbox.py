"""The outbox' promise under fire: what was committed arrives, what was rolled back never does, whoever dies, and where.

Each test ends with the judgement: lost 0, nothing that was rolled back, the order that was promised.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest
from prepared import Prepared

from faults.harness import keep_queues, until
from faults.outbox_story import Story, relay_process
from faults.programs.relay import POINTS
from rmqpool.outbox import Relay
from rmqpool.testing.pgbouncer import PgBouncer
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq_node import RabbitMQNode

IN_HAND = 200  # rows that a relay of these tests has in hand at most
SMALL: dict[str, int] = {"batch_size": 50, "batches_in_flight": 4}


@pytest.fixture
def story(postgres: PostgresServer, postgres_url: str, vhost_url: str, queue_name: str) -> Iterator[Story]:
    """On a database of its own in a server that the test may break, and a broker that it may not."""
    with Story(vhost_url, postgres_url, queue_name) as one:
        yield one


# -- a relay dies


@pytest.mark.parametrize("point", POINTS)
def test_a_relay_killed_at_any_point_loses_nothing(prepared: Prepared, story: Story, point: str) -> None:
    """Its lanes are free when its backend ends; the next relay publishes what was in hand again, and nothing else."""
    story.write(4)
    story.wait_for_committed(IN_HAND)  # it dies with as much in hand as may be
    with relay_process(prepared, story, point, passes=2 if point != "lanes taken" else 0, **SMALL) as dying:
        assert dying.wait(30) == -signal.SIGKILL
    with relay_process(prepared, story, **SMALL):
        story.wait_for_committed(100)
        story.stop_writing()
        story.wait_until_empty()
    verdict = story.judge()
    assert verdict.duplicates <= IN_HAND
    story.assert_order_of_keys()


def test_a_relay_that_was_stopped_for_long_does_not_send_what_is_no_longer_its_own(
    prepared: Prepared, story: Story
) -> None:
    """SIGSTOP: its lanes go to another one within seconds; when it goes on, it asks before it sends."""
    story.write(4)
    with relay_process(prepared, story, **SMALL) as first:
        story.wait_for_committed(200)
        first.send_signal(signal.SIGSTOP)
        with relay_process(prepared, story, **SMALL):
            story.wait_for_committed(200)
            story.stop_writing()
            story.wait_until_empty()  # by the second one alone
            first.send_signal(signal.SIGCONT)
            first.send_signal(signal.SIGTERM)
            assert first.wait(30) == 0
    verdict = story.judge()
    assert verdict.duplicates <= IN_HAND
    story.assert_order_of_keys()


def test_relays_that_join_and_leave_double_nothing(story: Story) -> None:
    """One to six relays; lanes change hands only with nothing in hand: without a fault there is no duplicate at all."""
    story.write(6)
    relays = []
    for _ in range(6):
        relay = Relay(story.amqp, story.database, **SMALL)
        relay.start()
        relays.append(relay)
        story.wait_for_committed(60)
    until(lambda: all(relay.stats().lanes >= 8 for relay in relays), "lanes for everybody", timeout=30)
    for relay in relays[:-1]:
        assert relay.stop()
        story.wait_for_committed(60)
    story.stop_writing()
    story.wait_until_empty()
    assert relays[-1].stats().lanes == 64
    assert relays[-1].stop()
    assert story.judge().duplicates == 0
    story.assert_order_of_keys()


# -- writers


@pytest.mark.parametrize("order", ["key", "strict"])
def test_twelve_writers_with_rollbacks_lose_nothing_and_keep_their_order(story: Story, order: str) -> None:
    """Ids are given in one order and committed in another: a lower one may appear after a higher one has left."""
    with Relay(story.amqp, story.database, order=order, **SMALL) as relay:  # type: ignore[arg-type]
        story.write(12, rollbacks=0.1, longest=0.05)
        story.wait_for_committed(1000)
        story.stop_writing()
        story.wait_until_empty()
        assert relay.stats().sent_again == 0
    assert story.judge().duplicates == 0
    story.assert_order_of_keys()
    if order == "strict":
        story.assert_one_order()


@pytest.mark.parametrize("order", ["key", "strict"])
def test_the_order_holds_across_lost_connections(
    broker: RabbitMQNode, vhost: str, postgres_url: str, queue_name: str, order: str
) -> None:
    """What was written is sent again first, and what waited behind it comes after: nothing slips onto a new connection."""
    with FaultProxy(("127.0.0.1", broker.port)) as proxy:
        url = broker.amqp_url(vhost=vhost)
        through = url.replace(f":{broker.port}/", f":{proxy.port}/")
        with Story(url, postgres_url, queue_name) as story:
            with Relay(through, story.database, order=order, **SMALL) as relay:  # type: ignore[arg-type]
                story.write(2)
                for number in range(1, 5):
                    before = relay.stats().confirmed
                    story.wait_for_committed(100)
                    until(partial(_has_confirmed, relay, before), "confirms by the connection to lose", timeout=60)
                    proxy.reset() if number % 2 else proxy.reset_after(3000, "to_broker")
                proxy.heal()
                story.stop_writing()
                story.wait_until_empty()
            story.judge()
            story.assert_order_of_keys()
            if order == "strict":
                story.assert_one_order()


def test_a_row_that_commits_late_is_found(story: Story) -> None:
    """Its id lies below what was read long ago: the sweep looks there."""
    with Relay(story.amqp, story.database, **SMALL) as relay, psycopg.connect(story.database) as late:
        message_id = story.outbox.publish(late, story.queue, {"key": "late", "number": 1}, key="late")
        story.write(2)
        story.wait_for_committed(300)
        until(lambda: relay.stats().removed > 200, "others to be read")
        story.checker.record_attempt(message_id)
        late.commit()
        story.checker.record_publish(message_id, "confirmed")
        story.stop_writing()
        story.wait_until_empty()
    story.judge()


def test_a_large_transaction_that_commits_late_keeps_the_order_of_its_keys(story: Story) -> None:
    """More rows appear below the floor than are read at once, and newer ones of the same keys above it."""
    with Relay(story.amqp, story.database, **SMALL) as relay, psycopg.connect(story.database) as late:
        ids = story.outbox.publish_many(
            late,
            story.queue,
            [{"key": f"late-{number % 3}", "number": number} for number in range(2000)],
            key=lambda body: str(body["key"]),
        )
        story.write(2)
        story.wait_for_committed(200)
        until(lambda: relay.stats().removed > 100, "others to be read")
        for message_id in ids:
            story.checker.record_attempt(message_id)
            story.checker.record_publish(message_id, "confirmed")
        late.commit()
        with psycopg.connect(story.database) as then:
            for number in range(2000, 2030):
                body = {"key": f"late-{number % 3}", "number": number}
                message_id = story.outbox.publish(then, story.queue, body, key=str(body["key"]))
                story.checker.record_attempt(message_id)
                story.checker.record_publish(message_id, "confirmed")
                then.commit()
        story.stop_writing()
        story.wait_until_empty()
        assert relay.stats().swept == 0  # found by reading, in order, not by the sweep
    assert story.judge().duplicates == 0
    story.assert_order_of_keys()


# -- Postgres


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_restarted_in_the_middle(story: Story, postgres: PostgresServer, mode: str) -> None:
    """The relay resumes, and no row is skipped."""
    with Relay(story.amqp, story.database, **SMALL) as relay:
        story.write(4)
        story.wait_for_committed(200)
        postgres.restart(mode)  # type: ignore[arg-type]
        story.wait_for_committed(200)
        story.stop_writing()
        story.wait_until_empty()
        until(lambda: relay.stats().trouble == "", "the end of the trouble")
    assert story.judge().duplicates <= IN_HAND
    story.assert_order_of_keys()


def test_through_pgbouncer_in_transaction_mode(
    postgres: PostgresServer, pgbouncer: PgBouncer, postgres_url: str, vhost_url: str, queue_name: str
) -> None:
    """Writers and two relays share a few server connections; rows are found by polling. PgBouncer is killed meanwhile."""
    through = pgbouncer.database_url(postgres_url.rpartition("/")[2])
    with Story(vhost_url, postgres_url, queue_name, writers_database=through) as story:
        relays = [Relay(story.amqp, through, pgbouncer=True, **SMALL) for _ in range(2)]
        for relay in relays:
            relay.start()
        story.write(3)
        until(lambda: all(relay.stats().lanes for relay in relays), "lanes for both", timeout=20)
        story.wait_for_committed(100)
        pgbouncer.kill()
        pgbouncer.start()
        story.wait_for_committed(100)
        story.stop_writing()
        story.wait_until_empty()
        for relay in relays:
            assert relay.stop()
        assert story.judge().duplicates <= 2 * IN_HAND
        story.assert_order_of_keys()


def test_backends_terminated_again_and_again(story: Story, postgres: PostgresServer) -> None:
    """57P01 hits writers and relay at any statement."""
    with Relay(story.amqp, story.database, **SMALL):
        story.write(4)
        for _ in range(5):
            story.wait_for_committed(60)
            postgres.terminate_backends()
        story.wait_for_committed(60)
        story.stop_writing()
        story.wait_until_empty()
    assert story.judge().duplicates <= 5 * IN_HAND
    story.assert_order_of_keys()


def test_postgres_becomes_read_only_for_a_while(story: Story) -> None:
    """25006: rows cannot be deleted, so no more are read than may be in hand; afterwards everything goes on."""
    database = story.database.rpartition("/")[2]
    with Relay(story.amqp, story.database, **SMALL) as relay:
        story.write(2)
        story.wait_for_committed(100)
        story.stop_writing()
        story.wait_until_empty()
        with psycopg.connect(story.database, autocommit=True) as admin:
            ids = []
            with admin.transaction():
                for number in range(300):
                    message_id = story.outbox.publish(admin, story.queue, {"key": "k", "number": number}, key="k")
                    ids.append(message_id)
                    story.checker.record_attempt(message_id)
                admin.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
            for message_id in ids:
                story.checker.record_publish(message_id, "confirmed")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            until(lambda: relay.stats().in_hand == IN_HAND, "as much in hand as may be", timeout=20)
            admin.execute("SET default_transaction_read_only = off")
            admin.execute(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        story.wait_until_empty()
    assert story.judge().duplicates <= 2 * IN_HAND


def test_a_deadlock_with_the_applications_own_statement_loses_nothing(story: Story) -> None:
    """40P01 hits the relay's delete, or the other side: it is done again."""
    with Relay(story.amqp, story.database, **SMALL) as relay:
        story.write(4)
        with psycopg.connect(story.database) as other:
            for _ in range(30):
                try:
                    other.execute("SELECT 1 FROM rmqpool_outbox ORDER BY id DESC LIMIT 5 FOR UPDATE")
                    other.execute("SELECT 1 FROM rmqpool_outbox ORDER BY id LIMIT 5 FOR UPDATE")
                    other.commit()
                except psycopg.errors.DeadlockDetected:
                    other.rollback()
        story.wait_for_committed(100)
        story.stop_writing()
        story.wait_until_empty()
        assert relay.stats().in_hand == 0
    story.judge()
    story.assert_order_of_keys()


# -- the broker


def test_the_broker_killed_under_a_relay(private_broker: RabbitMQNode, postgres_url: str, queue_name: str) -> None:
    """What had no confirm is sent again with the same message id."""
    with Story(private_broker.amqp_url(), postgres_url, queue_name) as story:
        with Relay(story.amqp, story.database, **SMALL) as relay:
            keep_queues(private_broker)
            story.write(4)
            story.wait_for_committed(200)
            private_broker.kill()
            story.wait_for_committed(100)
            private_broker.start()
            story.wait_for_committed(100)
            story.stop_writing()
            story.wait_until_empty()
            assert relay.stats().sent_again > 0
        assert story.judge().duplicates <= IN_HAND
        story.assert_order_of_keys()


def test_a_blocked_broker_holds_neither_vacuum_nor_the_writers_up(
    private_broker: RabbitMQNode, postgres_url: str, queue_name: str
) -> None:
    """While a batch is out, the lane connection has neither a transaction id nor a snapshot."""
    with Story(private_broker.amqp_url(), postgres_url, queue_name) as story:
        with Relay(story.amqp, story.database, **SMALL) as relay:
            story.write(2)
            story.wait_for_committed(100)
            private_broker.raise_memory_alarm()
            story.wait_for_committed(300)
            until(lambda: relay.stats().in_hand > IN_HAND * 3 // 4, "a full hand", timeout=20)
            with psycopg.connect(story.database, autocommit=True) as watcher:
                rows = watcher.execute(
                    "SELECT backend_xid::text, backend_xmin::text FROM pg_stat_activity"
                    " WHERE application_name = %s AND state = 'idle in transaction'",
                    [f"{relay.name} lanes"],
                ).fetchall()
                assert rows == [(None, None)]
                watcher.execute("CREATE TABLE victim AS SELECT generate_series(1, 1000) AS n")
                watcher.execute("DELETE FROM victim")
                story.stop_writing()
                until(lambda: _vacuumed(watcher), "all dead rows to be removable", timeout=20)
            private_broker.clear_memory_alarm()
            story.wait_until_empty()
        story.judge()
        story.assert_order_of_keys()


def _has_confirmed(relay: Relay, before: int) -> bool:
    return relay.stats().confirmed > before


def _vacuumed(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    connection.execute("VACUUM victim")
    return connection.execute("SELECT pg_relation_size('victim')").fetchone() == (0,)
