"""Relay's promises while nothing dies: outcomes of rows, stalled keys, schedules, lanes, wake-ups, and what it costs."""

from __future__ import annotations

import json
import logging
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from rmqpool import ConfigurationError, ConnectionPool, Delivery, PoolClosedError, Publisher, Queue
from rmqpool.outbox import Outbox, Relay, Tables
from rmqpool.outbox.migrations import migrate
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
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

    def take(self, count: int, queue: str | None = None, timeout: float = 15.0) -> list[Delivery]:
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
            wait_until(lambda table=table: self.count(table) == 0, f"{table} to be empty", timeout=15)


@pytest.fixture
def bench(vhost_url: str, postgres_url: str, queue_name: str) -> Iterator[Bench]:
    with psycopg.connect(postgres_url) as connection:
        migrate(connection, Tables())
    with ExitStack() as stack:
        yield Bench(vhost_url, postgres_url, queue_name, stack)


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


# -- rows that the broker does not take


def test_a_returned_row_stalls_its_key_and_nobody_else(bench: Bench, start: MakeRelay) -> None:
    """Once the queue is there the rest follows, in order."""
    relay = start()
    bench.write(1, 2, queue="later", key="slow")
    wait_until(lambda: bench.count("held") == 2, "both rows to be held", timeout=10)
    bench.write(*range(50), key="fast")
    bench.write(3, queue="later", key="slow")
    assert bench.bodies(50) == list(range(50))
    assert relay.stats().stalled_keys == 1
    assert bench.connection.execute("SELECT stall, reason FROM rmqpool_stalled").fetchall() == [
        ("key:slow", "returned")
    ]
    bench.declare("later")
    bench.connection.execute("UPDATE rmqpool_stalled SET next_at = clock_timestamp()")
    assert bench.bodies(3, queue="later") == [1, 2, 3]
    bench.wait_empty()
    wait_until(lambda: relay.stats().stalled_keys == 0, "the stall to be over", timeout=5)


@pytest.mark.parametrize("relays", [1, 2])
def test_held_rows_whose_stall_was_deleted_are_sent_all_the_same(bench: Bench, start: MakeRelay, relays: int) -> None:
    """By a hand, or because it is not in the copy that was restored: housekeeping finds them, whoever owns the lane."""
    for _ in range(relays):
        start()
    bench.write(1, 2, queue="later", key="slow")
    bench.write(3, 4, queue="later")
    wait_until(lambda: bench.count("held") == 4, "the rows to be held", timeout=10)
    bench.declare("later")
    bench.connection.execute("DELETE FROM rmqpool_stalled")
    found = bench.bodies(4, queue="later")
    assert sorted(found) == [1, 2, 3, 4]
    assert found.index(1) < found.index(2)
    bench.wait_empty()


def test_rows_without_a_key_stall_one_by_one(bench: Bench, start: MakeRelay) -> None:
    """Each is its own."""
    start()
    bench.write(1, 2, queue="nowhere")
    wait_until(lambda: bench.count("stalled") == 2, "two stalls", timeout=10)
    bench.write("on")
    assert bench.bodies(1) == ["on"]


def test_a_row_is_given_up_after_so_many_attempts_and_the_next_one_has_its_turn(bench: Bench, start: MakeRelay) -> None:
    """It lies in the dead table, with the reason; its key goes on."""
    start(max_attempts=2)
    (dead,) = bench.write("bad", queue="nowhere", key="k")
    wait_until(lambda: bench.count("stalled") == 1, "the stall", timeout=10)
    bench.write("good", key="k")
    assert bench.bodies(1) == ["good"]
    bench.wait_empty()
    row = bench.connection.execute("SELECT message_id::text, reason, error FROM rmqpool_dead").fetchone()
    assert row is not None
    assert row[:2] == (dead, "returned")
    assert "NO_ROUTE" in row[2]


def test_a_missing_exchange_stalls_its_key_only(bench: Bench, start: MakeRelay) -> None:
    """404 closes the channel, and innocent messages that were on their way are sent again."""
    start()
    with bench.connection.transaction():
        for number in range(50):
            bench.outbox.publish(bench.connection, bench.queue, number, key=f"k{number}")
        bench.outbox.publish_to(bench.connection, "no-such-exchange", "x", 1, key="bad")
        for number in range(50, 100):
            bench.outbox.publish(bench.connection, bench.queue, number, key=f"k{number}")
    found: set[int] = set()
    wait_until(lambda: found.update(bench.bodies(1)) or found == set(range(100)), "all the others", timeout=30)
    assert bench.connection.execute("SELECT reason FROM rmqpool_stalled").fetchall() == [("nacked:404",)]


@pytest.mark.parametrize("properties", ['{"no_such": 1}', '{"priority": "x"}', '{"expiration": [1]}', "[]", "7"])
def test_a_row_that_nobody_of_us_wrote_is_given_up_at_once(bench: Bench, start: MakeRelay, properties: str) -> None:
    """No later attempt would end in another way, and the relay lives on."""
    start()
    bench.connection.execute(
        "INSERT INTO rmqpool_outbox (lane, key, exchange, routing_key, message_id, properties, body)"
        " VALUES (1, 'k', '', %s, gen_random_uuid(), %s, 'x')",
        [bench.queue, properties],
    )
    wait_until(lambda: bench.count("dead") == 1, "the row to be given up", timeout=10)
    bench.wait_empty()
    bench.write(1, key="k")
    assert bench.bodies(1) == [1]


def test_events_without_a_subscriber_are_confirmed(bench: Bench, start: MakeRelay) -> None:
    """mandatory=False travels with the row."""
    start()
    with bench.connection.transaction():
        bench.outbox.publish_to(bench.connection, "amq.topic", "nobody.listens", 1, mandatory=False)
    bench.wait_empty()
    assert bench.count("dead") == 0


def test_a_key_window_of_one_keeps_the_order_around_a_failure(bench: Bench, start: MakeRelay) -> None:
    """Nothing of the key is on its way behind the row that fails."""
    start(key_window=1)
    with bench.connection.transaction():
        for number in range(20):
            queue = "not-yet" if number == 10 else bench.queue
            bench.outbox.publish(bench.connection, queue, number, key="k")
    wait_until(lambda: bench.count("held") == 10, "the rest to be held", timeout=10)
    assert bench.bodies(10) == list(range(10))
    bench.declare("not-yet")
    bench.connection.execute("UPDATE rmqpool_stalled SET next_at = clock_timestamp()")
    assert bench.bodies(9) == list(range(11, 20))
    assert bench.bodies(1, queue="not-yet") == [10]


# -- several relays, and waking up


def test_two_relays_share_the_lanes(bench: Bench, start: MakeRelay) -> None:
    """Half each; when one leaves, the other has all."""
    first = start()
    wait_until(lambda: first.stats().lanes == 64, "all lanes", timeout=10)
    second = start()
    wait_until(lambda: (first.stats().lanes, second.stats().lanes) == (32, 32), "half of them each", timeout=15)
    assert first.stop()
    wait_until(lambda: second.stats().lanes == 64, "all lanes again", timeout=15)


def test_of_strict_relays_one_works_and_the_other_stands_by(bench: Bench, start: MakeRelay) -> None:
    """And takes over."""
    first = start(order="strict")
    wait_until(lambda: first.stats().lanes == 64, "all lanes", timeout=10)
    second = start(order="strict")
    bench.write(*range(100))
    assert bench.bodies(100) == list(range(100))
    assert second.stats().read == 0
    assert first.stop()
    bench.write(*range(100))
    assert bench.bodies(100) == list(range(100))
    assert second.stats().read == 100


def test_a_sleeping_relay_is_woken_by_the_bell(bench: Bench, start: MakeRelay) -> None:
    """Although it looks by itself every 30 seconds only."""
    relay = start(longest_poll=30.0)
    wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=10)
    for number in range(3):
        fetches = relay.stats().fetches
        wait_until(lambda seen=fetches: _rests(relay, seen), "it to sleep", timeout=20)
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
        wait_until(lambda: "rmqpool outbox migrate" in relay.stats().trouble, "the trouble", timeout=10)
        with psycopg.connect(postgres_url) as connection:
            migrate(connection, Tables())
        wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=15)
        assert relay.stats().trouble == ""
    assert "cannot be" not in caplog.text


def test_a_lost_connection_is_told_once_and_nothing_of_it_lingers(
    bench: Bench, start: MakeRelay, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was to be settled: that all connections were cut is one line of the log, and over when the relay is back."""
    relay = start()
    wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=10)
    caplog.set_level(logging.INFO, "rmqpool.outbox.relay")
    caplog.clear()
    bench.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    wait_until(lambda: "works again" in caplog.text, "the relay to be back", timeout=10)
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
    wait_until(lambda: "scheduled rows cannot be released" in relay.stats().trouble, "the trouble", timeout=10)
    bench.write("now")
    assert bench.bodies(1) == ["now"]
    bench.wait_empty("outbox")
    bench.connection.execute("ALTER TABLE elsewhere RENAME TO rmqpool_scheduled")
    assert bench.bodies(1) == ["late"]
    wait_until(lambda: relay.stats().trouble == "", "the end of it", timeout=10)


def test_rows_that_cannot_be_removed_are_told(bench: Bench, start: MakeRelay) -> None:
    """They were published, and will be doubled by the next relay: nobody should have to find that in a log."""
    bench.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;"
        "CREATE TRIGGER refuse BEFORE DELETE ON rmqpool_outbox FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
    )
    relay = start()
    bench.write(1)
    wait_until(lambda: "cannot be removed" in relay.stats().trouble, "the trouble", timeout=10)
    bench.connection.execute("DROP TRIGGER refuse ON rmqpool_outbox")
    bench.wait_empty()
    wait_until(lambda: relay.stats().trouble == "", "the end of it", timeout=10)


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
    wait_until(lambda: relay.stats().confirmed == 1, "a row in hand that cannot be removed", timeout=10)
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
    wait_until(lambda: relay.stats().confirmed > 2000, "some to be confirmed", timeout=20)
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
        wait_until(lambda: relay.stats().trouble, "the trouble", timeout=10)
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


def test_a_relay_without_a_broker_keeps_no_lanes_from_the_others(bench: Bench, start: MakeRelay) -> None:
    """It says so, counts as none, and takes part as soon as it can publish."""
    healthy = start()
    wait_until(lambda: healthy.stats().lanes == 64, "all lanes", timeout=10)
    with Relay("amqp://guest:wrong@127.0.0.1:1/", bench.database, name="lonely") as lonely:
        wait_until(lambda: "broker" in lonely.stats().trouble, "the trouble", timeout=10)
        for number in range(100):
            bench.write(number, key=f"key-{number}")
        assert len(bench.take(100)) == 100
        assert lonely.stats().lanes == 0
        assert healthy.stats().lanes == 64


def test_confirms_that_take_longer_than_the_lease_count(bench: Bench, broker: RabbitMQNode, vhost: str) -> None:
    """The lease bounds the writing; the confirm has publish_timeout: nothing is sent again for being slow."""
    with FaultProxy(("127.0.0.1", broker.port)) as proxy:
        slow = broker.amqp_url(vhost=vhost).replace(f":{broker.port}/", f":{proxy.port}/")
        with Relay(slow, bench.database) as relay:
            wait_until(lambda: relay.stats().lanes == 64, "all lanes", timeout=20)
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


def test_relays_of_two_orders_say_that_they_keep_each_other_out(bench: Bench, start: MakeRelay) -> None:
    """Strict order has all lanes or none: it holds none while another one has some."""
    by_key = start()
    wait_until(lambda: by_key.stats().lanes == 64, "all lanes", timeout=10)
    strict = start(order="strict")
    wait_until(lambda: "strict order needs all lanes" in strict.stats().trouble, "the trouble", timeout=10)
    assert strict.stats().lanes == 0


def test_several_relays_keep_to_what_they_may_have_in_hand(bench: Bench, start: MakeRelay) -> None:
    """However the rows lie in the lanes."""
    with bench.connection.transaction():
        for number in range(2000):
            bench.outbox.publish(bench.connection, bench.queue, number, key=f"key-{number}")
    relays = [start(batch_size=10, batches_in_flight=2) for _ in range(2)]
    most = 0
    while bench.count("outbox"):
        most = max(most, *(relay.stats().in_hand for relay in relays))
    assert 0 < most <= 20


def test_a_dead_row_with_an_id_that_comes_again_stops_nobody(bench: Bench, start: MakeRelay) -> None:
    """As after a fail-over, or TRUNCATE ... RESTART IDENTITY, which no relay keeps waiting."""
    relay = start(max_attempts=1)
    for number in range(2):
        bench.write(number, queue="nobody-takes-it")
        wait_until(lambda number=number: bench.count("dead") == number + 1, "a dead row", timeout=10)
        bench.wait_empty()
        bench.connection.execute("SET lock_timeout = '5s'")
        bench.connection.execute("TRUNCATE rmqpool_outbox RESTART IDENTITY")
    bench.write("x")
    assert bench.bodies(1) == ["x"]
    wait_until(lambda: relay.stats().trouble == "", "no trouble", timeout=10)
