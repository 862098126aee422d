"""Looking at an outbox: counts with a bound, ages, stalled keys, dead rows, relays alive, and what holds back vacuum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from rmqpool.core.lanes import lane_of
from rmqpool.errors import ConfigurationError, ConnectionFailedError, ConnectionLostError, OutboxSchemaError
from rmqpool.outbox import Outbox, Tables
from rmqpool.outbox.inspection import Count, dead_rows, stalled_keys, status
from rmqpool.outbox.inspection_connection import connect
from rmqpool.outbox.inspection_health import health
from rmqpool.outbox.migrations import migrate
from rmqpool.outbox.statements import lock_class
from rmqpool.outbox.tables import quote_literal
from rmqpool.testing.passwords import MARK
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.waiting import wait_until

TABLES = Tables(schema="it's 100%", prefix='p"%s{x}')


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """An outbox with odd names, and a connection to it."""
    with closing(connect(postgres_url)) as opened:
        migrate(opened, TABLES)
        yield opened


def write(connection: psycopg.Connection[Any], key: str | None, rows: int) -> None:
    """Rows of one key."""
    with connection.transaction():
        Outbox(TABLES).publish_many(connection, "orders", [{"id": number} for number in range(rows)], key=key)


def test_an_empty_outbox_has_nothing_of_anything(connection: psycopg.Connection[Any]) -> None:
    """Zeros, and None where there is no row."""
    found = status(connection, TABLES)
    nothing = Count(0)
    assert (found.waiting, found.held, found.stalled, found.dead, found.scheduled) == (nothing,) * 5
    assert (found.oldest_age, found.next_due, found.lanes, found.relays, found.awake) == (None, None, (), (), False)
    assert stalled_keys(connection, TABLES) == []
    assert dead_rows(connection, TABLES) == []


def test_rows_and_ages_are_told_for_each_lane(connection: psycopg.Connection[Any]) -> None:
    """The oldest of all is the oldest of the lanes; scheduled rows are counted apart."""
    write(connection, "a", 3)
    write(connection, "b", 2)
    connection.execute(
        f"UPDATE {TABLES.outbox} SET created_at = created_at - interval '1 hour' WHERE key = 'b'".encode()
    )
    with connection.transaction():
        Outbox(TABLES).publish(connection, "orders", {}, delay=60)
    found = status(connection, TABLES)
    lanes = {lane.lane: lane for lane in found.lanes}
    assert {number: lane.waiting.rows for number, lane in lanes.items()} == {lane_of("a"): 3, lane_of("b"): 2}
    assert found.waiting == Count(5)
    assert found.oldest_age == lanes[lane_of("b")].oldest_age
    assert 3600 <= found.oldest_age < 3660
    assert lanes[lane_of("a")].oldest_age < 60
    assert (found.scheduled, found.next_due is not None and 0 < found.next_due <= 60) == (Count(1), True)


def test_counting_ends_at_a_bound(connection: psycopg.Connection[Any]) -> None:
    """Beyond it a count says that there are more."""
    write(connection, "a", 10)
    exact, bounded = status(connection, TABLES, counted=10), status(connection, TABLES, counted=9)
    assert (exact.waiting, bounded.waiting) == (Count(10), Count(9, more=True))
    assert (str(exact.waiting), str(bounded.waiting), str(Count(100_000, more=True))) == ("10", "9+", "100,000+")


def test_a_full_lane_is_counted_further_than_many_full_lanes(connection: psycopg.Connection[Any]) -> None:
    """The bound is shared by those that are full, so that looking stays cheap."""
    sql = (
        f"INSERT INTO {TABLES.outbox} (lane, exchange, routing_key, message_id, body)"
        " SELECT CASE WHEN n <= 500 THEN 9 WHEN n <= 520 THEN 8 ELSE n % 4 END, '', 'q', gen_random_uuid(), ''"
        " FROM generate_series(1, 540) AS n"
    )
    connection.execute(sql.encode())
    found = status(connection, TABLES, counted=400)
    lanes = {lane.lane: lane.waiting for lane in found.lanes}
    assert found.waiting == Count(400, more=True)
    assert lanes == {**dict.fromkeys(range(4), Count(5)), 8: Count(20), 9: Count(200, more=True)}
    assert all(lane.oldest_age < 60 for lane in found.lanes)


def test_looking_reads_no_table_from_end_to_end(connection: psycopg.Connection[Any]) -> None:
    """Even if it was never analysed; 120,000 rows are more than are counted."""
    sql = (
        f"INSERT INTO {TABLES.outbox} (lane, exchange, routing_key, message_id, body)"
        " SELECT n % 64, '', 'q', gen_random_uuid(), '' FROM generate_series(1, 120000) AS n"
    )
    connection.execute(sql.encode())

    def full_scans() -> Any:
        connection.execute("SELECT pg_stat_force_next_flush()")
        statistics = f"SELECT pg_stat_get_numscans(CAST({quote_literal(TABLES.outbox)} AS regclass))"
        return connection.execute(statistics.encode()).fetchone()

    before = full_scans()
    found = status(connection, TABLES)
    assert full_scans() == before
    assert found.waiting == Count(100_000, more=True)
    assert {lane.waiting for lane in found.lanes} == {Count(1562, more=True)}


def test_relays_that_are_alive_are_found_by_their_locks(connection: psycopg.Connection[Any], postgres_url: str) -> None:
    """With name, pid and lanes; another outbox' relays, and locks of other sizes, are none of ours."""
    other = Tables(prefix="other")
    migrate(connection, other)
    with closing(connect(postgres_url, name="relay one")) as one, closing(connect(postgres_url)) as two:
        for lane in (0, 7, 63):
            one.execute(f"SELECT pg_advisory_lock({lock_class(TABLES.outbox)}, {lane})".encode())
        for session in (one, two):
            session.execute(f"SELECT pg_advisory_lock_shared({lock_class(TABLES.outbox)}, -2)".encode())
        two.execute(f"SELECT pg_advisory_lock_shared({lock_class(other.outbox)}, -2)".encode())
        two.execute(b"SELECT pg_advisory_lock(5)")
        found = status(connection, TABLES)
        told = {(relay.pid, relay.name, relay.lanes) for relay in found.relays}
        pids = (one.info.backend_pid, two.info.backend_pid)
        assert told == {(pids[0], "relay one", (0, 7, 63)), (pids[1], "rmqpool outbox", ())}
        assert not found.awake
        two.execute(f"SELECT pg_advisory_lock({lock_class(TABLES.outbox)}, -1)".encode())
        assert status(connection, TABLES).awake
        assert [relay.pid for relay in status(connection, other).relays] == [pids[1]]
    assert status(connection, other).relays == ()


def test_stalled_keys_and_dead_rows_are_told_with_their_errors(connection: psycopg.Connection[Any]) -> None:
    """The key that stalls for longest, and the newest dead row, come first."""
    write(connection, "a", 3)
    write(connection, None, 1)
    columns = "id, lane, key, exchange, routing_key, message_id, properties, headers, body, created_at"
    for sql in (
        f"INSERT INTO {TABLES.stalled} (stall, lane, attempts, since, next_at, reason, error) VALUES"
        " ('row:4', 1, 1, clock_timestamp(), clock_timestamp(), 'nacked', 'full'),"
        " ('key:a', 2, 3, clock_timestamp() - interval '1 min', clock_timestamp() + interval '1 min', 'returned', 'x')",
        f"WITH moved AS (DELETE FROM {TABLES.outbox} WHERE id <= 2 RETURNING {columns})"
        f" INSERT INTO {TABLES.held} (stall, {columns}) SELECT 'key:' || key, {columns} FROM moved",
        f"WITH moved AS (DELETE FROM {TABLES.outbox} RETURNING {columns}) INSERT INTO {TABLES.dead}"
        f" ({columns}, attempts, reason, error) SELECT {columns}, 10, 'returned', 'NO_ROUTE' FROM moved",
    ):
        connection.execute(sql.encode())
    first, second = stalled_keys(connection, TABLES)
    assert (first.stall, first.lane, first.attempts, first.reason, first.error) == ("key:a", 2, 3, "returned", "x")
    assert (first.held, first.first_id, second.held, second.first_id) == (Count(2), 1, Count(0), None)
    assert 60 <= first.since < 120
    assert 0 < first.next_at <= 60
    rows = dead_rows(connection, TABLES)
    assert [(row.id, row.key, row.routing_key, row.attempts) for row in rows] == [
        (4, None, "orders", 10),
        (3, "a", "orders", 10),
    ]
    assert dead_rows(connection, TABLES, limit=1) == rows[:1]
    found = status(connection, TABLES)
    assert (found.waiting, found.held, found.stalled, found.dead) == (Count(0), Count(2), Count(2), Count(2))


def test_who_holds_back_vacuum_is_named(connection: psycopg.Connection[Any], postgres_url: str) -> None:
    """The session's pid, application, state, age and query; nobody is named when it has ended."""
    with closing(psycopg.connect(postgres_url, application_name="report")) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 'the long\nreport'")
        holder = next(one for one in health(connection, TABLES).holders if one.kind == "session")
        assert holder.name == str(reader.info.backend_pid)
        assert holder.who.endswith("report")
        assert (holder.state, holder.query) == ("idle in transaction", "SELECT 'the long report'")
        assert holder.age is not None
        assert 0 <= holder.age < 60
        pid = holder.name
    # close() does not wait for the server's process to end.
    wait_until(
        lambda: all(one.name != pid for one in health(connection, TABLES).holders),
        "the session to be named no more",
        timeout=60,
    )


def test_an_unused_replication_slot_is_named(connection: psycopg.Connection[Any]) -> None:
    """Its reader is away, and the server keeps what it would need."""
    connection.execute("SELECT pg_create_physical_replication_slot('rmqpool_test', true)")
    try:
        slots = [holder for holder in health(connection, TABLES).holders if holder.kind == "slot"]
        assert [(slot.name, slot.who, slot.state, slot.age) for slot in slots] == [
            ("rmqpool_test", "physical", "inactive", None)
        ]
    finally:
        connection.execute("SELECT pg_drop_replication_slot('rmqpool_test')")


def test_how_the_tables_are_vacuumed_is_told(connection: psycopg.Connection[Any]) -> None:
    """As migrate makes them they are tuned; what somebody reset is seen."""
    tables = {table.name: table for table in health(connection, TABLES).tables}
    assert (tables["outbox"].scale_factor, tables["inbox"].scale_factor, tables["dead"].scale_factor) == (0, 0, None)
    assert all(table.autovacuum for table in tables.values())
    connection.execute(f"ALTER TABLE {TABLES.outbox} RESET (autovacuum_vacuum_scale_factor)".encode())
    connection.execute(f"ALTER TABLE {TABLES.inbox} SET (autovacuum_enabled = off)".encode())
    tables = {table.name: table for table in health(connection, TABLES).tables}
    assert (tables["outbox"].scale_factor, tables["inbox"].autovacuum) == (None, False)


def test_looking_changes_nothing_and_waits_for_no_writer(
    connection: psycopg.Connection[Any], postgres_url: str
) -> None:
    """A writer's open transaction is not in the way."""
    with closing(psycopg.connect(postgres_url)) as writer:
        Outbox(TABLES).publish(writer, "orders", {})
        assert status(connection, TABLES).waiting == Count(0)
        assert health(connection, TABLES).autovacuum
        writer.commit()
    assert status(connection, TABLES).waiting == Count(1)


def test_tables_that_are_not_there_are_told(connection: psycopg.Connection[Any]) -> None:
    """With the command that makes them."""
    for look in (status, stalled_keys, dead_rows, health):
        with pytest.raises(OutboxSchemaError, match="rmqpool outbox migrate"):
            look(connection, Tables(prefix="nope"))


def test_a_connection_that_ends_is_told(connection: psycopg.Connection[Any], postgres_url: str) -> None:
    """As a lost connection."""
    with closing(psycopg.connect(postgres_url, autocommit=True)) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    with pytest.raises(ConnectionLostError):
        status(connection, TABLES)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"postgresql://user:{MARK}1/2@localhost/db",
        f"postgresql://user:a@{MARK}@localhost/db",
        f"postgresql://user:%zz{MARK}@localhost/db",
        f"host=localhost password='{MARK}",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_not_repeated(url: str) -> None:
    """libpq would quote the part of the password that it took for a port or a host."""
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host") as caught:
        connect(url)
    assert MARK not in str(caught.value)


def test_a_server_that_is_not_there_and_a_wrong_password_are_told(postgres_url: str) -> None:
    """Without the password."""
    port = ReservedPort()
    with pytest.raises(ConnectionFailedError, match="refused") as caught:
        connect(f"postgresql://tests:{MARK}x@127.0.0.1:{port.number}/db")
    port.release()
    assert caught.value.port == port.number
    with pytest.raises(ConnectionFailedError, match="password authentication failed"):
        connect(postgres_url.replace(f":{MARK}", f":wrong{MARK}"))
