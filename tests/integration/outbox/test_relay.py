"""Relay's promises while nothing dies: what leaves, schedules, wake-ups, its life, and what it costs."""

from __future__ import annotations

import json
import logging
import os
import resource
import threading
import time
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from rmqpool import ConfigurationError, ConnectionPool, PoolClosedError, Publisher, Queue
from rmqpool.outbox import Outbox, Relay, Tables
from rmqpool.outbox.migrations import migrate
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.relay_bench import Bench, MakeRelay

# -- what leaves, and how


def test_what_was_committed_leaves_as_it_was_written(bench: Bench, start: MakeRelay) -> None:
    """Body, id, headers and properties are those that Publisher would have sent."""
    start()
    (message_id,) = bench.write(
        {"id": 7}, headers={"raw": b"\0", "n": 1}, priority=3, correlation_id="c", expiration=60, type="order"
    )
    (delivery,) = bench.take(1)
    assert (delivery.message_id, json.loads(delivery.body)) == (message_id, {"id": 7})
    assert delivery.headers == {"raw": b"\0", "n": 1}
    assert (delivery.priority, delivery.correlation_id, delivery.expiration, delivery.type) == (
        3,
        "c",
        "60000",
        "order",
    )
    assert (delivery.content_type, delivery.content_encoding, delivery.delivery_mode) == (
        "application/json",
        "utf-8",
        2,
    )
    bench.wait_empty()


def test_what_was_rolled_back_never_leaves(bench: Bench, start: MakeRelay) -> None:
    """Not even when others around it are committed."""
    relay = start()
    with bench.connection.transaction(force_rollback=True):
        bench.outbox.publish(bench.connection, bench.queue, "no")
    bench.write("yes")
    assert bench.bodies(1) == ["yes"]
    bench.wait_empty()
    assert relay.stats().read == 1


def test_an_id_that_is_no_uuid_is_kept(bench: Bench, start: MakeRelay) -> None:
    """The application's own."""
    start()
    assert bench.write(1, message_id="order-7") == ["order-7"]
    assert bench.take(1)[0].message_id == "order-7"


def test_what_waited_before_the_relay_came_leaves(bench: Bench, start: MakeRelay) -> None:
    """In the order of its keys."""
    bench.write(*range(2500), key="k")
    start(batch_size=100)
    assert bench.bodies(2500, timeout=30) == list(range(2500))


def test_scheduled_rows_leave_when_they_are_due(bench: Bench, start: MakeRelay) -> None:
    """And not before."""
    start()
    began = time.monotonic()
    bench.write("later", delay=1.0)
    bench.write("now")
    assert bench.bodies(2) == ["now", "later"]
    assert time.monotonic() - began > 0.9
    assert bench.count("scheduled") == 0


# -- waking up


def test_a_sleeping_relay_is_woken_by_the_bell(bench: Bench, start: MakeRelay) -> None:
    """Although it looks by itself every 30 seconds only."""
    relay = start(longest_poll=30.0)
    wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=60)
    for number in range(3):
        fetches = relay.stats().fetches
        wait_until(lambda seen=fetches: _rests(relay, seen), "it to sleep", timeout=60)
        bench.write(number)
        assert bench.bodies(1, timeout=5) == [number]


def _rests(relay: Relay, _: int) -> bool:
    before = relay.stats().fetches
    threading.Event().wait(0.3)
    return relay.stats().fetches - before <= 1


def test_without_the_bell_rows_are_found_by_looking(bench: Bench, start: MakeRelay) -> None:
    """Behind PgBouncer there is no LISTEN, and no setting of a session."""
    start(pgbouncer=True)
    bench.write(*range(100), key="k")
    assert bench.bodies(100) == list(range(100))
    bench.wait_empty()


def test_a_relay_waits_for_its_tables(
    postgres_url: str, vhost_url: str, queue_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Says what is missing, and nothing of rows that it has not; works once somebody has migrated."""
    with Relay(vhost_url, postgres_url) as relay:
        wait_until(lambda: "rmqpool outbox migrate" in relay.stats().trouble, "the trouble", timeout=60)
        with psycopg.connect(postgres_url) as connection:
            migrate(connection, Tables())
        wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=60)
        assert relay.stats().trouble == ""
    assert "cannot be" not in caplog.text


def test_a_lost_connection_is_told_once_and_nothing_of_it_lingers(
    bench: Bench, start: MakeRelay, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was to be settled: that all connections were cut is one line of the log, and over when the relay is back."""
    relay = start()
    wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=60)
    caplog.set_level(logging.INFO, "rmqpool.outbox.relay")
    caplog.clear()
    bench.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    wait_until(lambda: "works again" in caplog.text, "the relay to be back", timeout=60)
    bench.write(1)
    bench.wait_empty()
    assert relay.stats().trouble == ""
    assert [record.message.split(":")[1].strip() for record in caplog.records if record.levelname == "WARNING"] == [
        "no work with Postgres"
    ]


def test_scheduled_rows_that_cannot_be_released_are_told_and_stop_nobody(bench: Bench, start: MakeRelay) -> None:
    """Their table is away for a while: other rows leave and are removed; afterwards the late ones follow."""
    relay = start()
    bench.write("late", delay=1.0)
    bench.connection.execute("ALTER TABLE rmqpool_scheduled RENAME TO elsewhere")
    wait_until(lambda: "scheduled rows cannot be released" in relay.stats().trouble, "the trouble", timeout=60)
    bench.write("now")
    assert bench.bodies(1) == ["now"]
    bench.wait_empty("outbox")
    bench.connection.execute("ALTER TABLE elsewhere RENAME TO rmqpool_scheduled")
    assert bench.bodies(1) == ["late"]
    wait_until(lambda: relay.stats().trouble == "", "the end of it", timeout=60)


def test_rows_that_cannot_be_removed_are_told(bench: Bench, start: MakeRelay) -> None:
    """They were published, and will be doubled by the next relay: nobody should have to find that in a log."""
    bench.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;"
        "CREATE TRIGGER refuse BEFORE DELETE ON rmqpool_outbox FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
    )
    relay = start()
    bench.write(1)
    wait_until(lambda: "cannot be removed" in relay.stats().trouble, "the trouble", timeout=60)
    bench.connection.execute("DROP TRIGGER refuse ON rmqpool_outbox")
    bench.wait_empty()
    wait_until(lambda: relay.stats().trouble == "", "the end of it", timeout=60)


def test_a_relay_is_in_nobodys_way_who_changes_the_table(bench: Bench, start: MakeRelay) -> None:
    """Its transaction keeps no lock on a table, whatever is in hand: DDL does not wait, and no writer behind it."""
    relay = start()
    bench.connection.execute(
        "CREATE FUNCTION refuse_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$"
    )
    bench.connection.execute(
        "CREATE TRIGGER refuse BEFORE DELETE ON rmqpool_outbox FOR EACH STATEMENT EXECUTE FUNCTION refuse_it()"
    )
    bench.write(1)
    wait_until(lambda: relay.stats().confirmed == 1, "a row in hand that cannot be removed", timeout=60)
    bench.connection.execute("SET lock_timeout = '3s'")  # the relay's own statements are short
    bench.connection.execute("ALTER TABLE rmqpool_outbox ADD COLUMN of_the_application int")
    bench.connection.execute("ALTER TABLE rmqpool_stalled ADD COLUMN of_the_application int")
    bench.connection.execute("DROP TRIGGER refuse ON rmqpool_outbox")
    bench.wait_empty()


def test_names_with_quotes_work(postgres_url: str, vhost_url: str, queue_name: str) -> None:
    """Everything is quoted, on both sides."""
    tables = Tables(schema='we"ird %s:x', prefix="a'b%{$1}")
    with psycopg.connect(postgres_url) as connection:
        migrate(connection, tables)
    with ExitStack() as stack:
        stack.enter_context(Relay(vhost_url, postgres_url, tables=tables))
        pool = stack.enter_context(ConnectionPool(vhost_url))
        Publisher(pool, declare=[Queue(queue_name, dead_letter=False)]).publish(queue_name, 0)
        with psycopg.connect(postgres_url) as connection:
            Outbox(tables).publish_many(connection, queue_name, [1, 2, 3], key="k")
            Outbox(tables).publish(connection, "nowhere", 4, key="bad")
        with pool.channel() as channel:
            wait_until(
                lambda: channel.queue_declare(queue_name, passive=True).message_count == 4, "the messages", timeout=10
            )


# -- its life, and its price


def test_a_graceful_stop_leaves_nothing_half_done(bench: Bench) -> None:
    """Whatever was published is deleted: the next relay sends none of it again."""
    with bench.connection.transaction():
        bench.outbox.publish_many(bench.connection, bench.queue, range(20_000))
    relay = Relay(bench.amqp, bench.database)
    relay.start()
    wait_until(lambda: relay.stats().confirmed > 2000, "some to be confirmed", timeout=60)
    assert relay.stop()
    stats = relay.stats()
    assert (stats.state, stats.in_hand, stats.confirmed) == ("stopped", 0, stats.removed)
    assert bench.count("outbox") == 20_000 - stats.removed
    with bench.pool.channel() as channel:
        assert channel.queue_declare(bench.queue, passive=True).message_count == stats.confirmed


def test_a_relay_lives_once(bench: Bench) -> None:
    """Stopped before it began, or started twice: told, and nothing runs."""
    relay = Relay(bench.amqp, bench.database)
    assert relay.stop()
    with pytest.raises(PoolClosedError):
        relay.start()
    with relay_of(bench) as running, pytest.raises(PoolClosedError):
        running.start()


def relay_of(bench: Bench) -> Relay:
    return Relay(bench.amqp, bench.database)


@pytest.mark.parametrize(
    "options",
    [{"order": "any"}, {"batch_size": 0}, {"key_window": 0}, {"max_attempts": True}, {"batches_in_flight": 1.5}],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Relay("amqp://localhost", "postgresql://localhost/x", **options)


def test_no_password_shows(bench: Bench) -> None:
    """In no repr, no stats, no trouble."""
    with Relay(bench.amqp, "postgresql://u:secret-word@127.0.0.1:1/d") as relay:
        wait_until(lambda: relay.stats().trouble, "the trouble", timeout=60)
        assert "secret-word" not in f"{relay!r} {relay.stats()}"


def test_it_costs_few_statements_and_little_wal(bench: Bench, start: MakeRelay) -> None:
    """P7: at most 0.02 statements a row, and 120 bytes of WAL for its deletes. Counted by Postgres, not timed."""
    rows = 20_000
    with bench.connection.transaction():
        bench.outbox.publish_many(bench.connection, bench.queue, ["x" * 250] * rows)
    bench.connection.execute("CHECKPOINT")
    before = bench.connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    relay = start()
    bench.wait_empty("outbox")
    wait_until(lambda: relay.stats().removed == rows, "everything to be removed", timeout=30)
    stats = relay.stats()
    assert before is not None
    wal = bench.connection.execute("SELECT pg_current_wal_insert_lsn() - %s", before).fetchone()
    assert wal is not None
    assert float(wal[0]) / rows <= 120, f"{float(wal[0]) / rows:.0f} bytes a row"
    assert stats.statements / rows <= 0.02, f"{stats.statements / rows:.4f} statements a row"


def test_confirms_that_take_longer_than_the_lease_count(bench: Bench, broker: RabbitMQNode, vhost: str) -> None:
    """The lease bounds the writing; the confirm has publish_timeout: nothing is sent again for being slow."""
    with FaultProxy(("127.0.0.1", broker.port)) as proxy:
        slow = broker.amqp_url(vhost=vhost).replace(f":{broker.port}/", f":{proxy.port}/")
        with Relay(slow, bench.database) as relay:
            wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=60)
            proxy.latency(2.5)
            bench.write(*range(50))
            bench.wait_empty("outbox")
            assert relay.stats().sent_again == 0
            proxy.heal()
    assert sorted(bench.bodies(50)) == list(range(50))
    with bench.pool.channel() as channel:
        assert channel.queue_declare(bench.queue, passive=True).message_count == 0


def test_a_service_with_many_open_files_may_have_a_relay(bench: Bench, start: MakeRelay) -> None:
    """select() would end it at descriptor 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    with ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(open(os.devnull))
        start()
        bench.write("x")
        assert bench.bodies(1) == ["x"]
        bench.wait_empty()
