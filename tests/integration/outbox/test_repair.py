"""Repairs by hand: sent again, skipped, removed; each wholly or not at all, and a dry run changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from rmqpool.errors import OutboxError
from rmqpool.outbox import Outbox, Tables
from rmqpool.outbox.inspection import dead_rows, stalled_keys
from rmqpool.outbox.inspection_connection import connect
from rmqpool.outbox.migrations import migrate
from rmqpool.outbox.repair import Pruned, Replayed, prune, replay, skip

TABLES = Tables(schema="it's 100%", prefix='p"%s{x}')
COLUMNS = "id, lane, key, exchange, routing_key, message_id, properties, headers, body, created_at"
CONTENT = "lane, key, exchange, routing_key, message_id, properties, headers, body, created_at"


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Rows 1 to 4: key a; 5: without a key; 6 to 8: key b."""
    with closing(connect(postgres_url)) as opened:
        migrate(opened, TABLES)
        with opened.transaction():
            for key, rows in (("a", 4), (None, 1), ("b", 3)):
                bodies = [{"key": key, "n": number} for number in range(rows)]
                Outbox(TABLES).publish_many(opened, "orders", bodies, key=key, headers={"h": 1}, priority=3)
        yield opened


def all_of(connection: psycopg.Connection[Any], table: str, columns: str = COLUMNS) -> list[tuple[Any, ...]]:
    """The rows of a table in the order of their ids."""
    return connection.execute(f"SELECT {columns} FROM {table} ORDER BY id".encode()).fetchall()


def ids_in(connection: psycopg.Connection[Any], table: str) -> list[int]:
    """The ids in a table."""
    return [row_id for (row_id,) in all_of(connection, table, "id")]


def bury(connection: psycopg.Connection[Any], where: str) -> None:
    """Make dead rows, as a relay does."""
    connection.execute(
        f"WITH moved AS (DELETE FROM {TABLES.outbox} WHERE {where} RETURNING {COLUMNS}) INSERT INTO {TABLES.dead}"
        f" ({COLUMNS}, attempts, reason, error) SELECT {COLUMNS}, 10, 'returned', 'NO_ROUTE' FROM moved".encode()
    )


def stall(connection: psycopg.Connection[Any], key: str) -> None:
    """Make a stalled key, as a relay does."""
    connection.execute(
        f"WITH moved AS (DELETE FROM {TABLES.outbox} WHERE key = '{key}' RETURNING {COLUMNS}) INSERT INTO {TABLES.held}"
        f" (stall, {COLUMNS}) SELECT 'key:' || key, {COLUMNS} FROM moved".encode()
    )
    connection.execute(
        f"INSERT INTO {TABLES.stalled} (stall, lane, attempts, next_at, reason, error)"
        f" VALUES ('key:{key}', 1, 3, clock_timestamp() + interval '1 hour', 'returned', 'NO_ROUTE')".encode()
    )


def test_dead_rows_wait_again_with_new_ids_in_their_order(connection: psycopg.Connection[Any]) -> None:
    """Nothing else of them changes, their message ids least of all; they come behind what waits."""
    before = all_of(connection, TABLES.outbox, CONTENT)
    bury(connection, "key = 'a'")
    assert replay(connection, TABLES, dead=[4, 1, 3]) == Replayed(0, 3)
    assert ids_in(connection, TABLES.dead) == [2]
    assert ids_in(connection, TABLES.outbox) == [5, 6, 7, 8, 9, 10, 11]
    assert all_of(connection, TABLES.outbox, CONTENT)[-3:] == [before[0], before[2], before[3]]


def test_stalled_keys_are_due_at_once(connection: psycopg.Connection[Any]) -> None:
    """Their rows stay held: a relay takes them from there."""
    stall(connection, "a")
    stall(connection, "b")
    assert replay(connection, TABLES, stalls=["key:b"]) == Replayed(1, 0)
    due = {one.stall: one.next_at <= 0 for one in stalled_keys(connection, TABLES)}
    assert due == {"key:a": False, "key:b": True}
    assert ids_in(connection, TABLES.held) == [1, 2, 3, 4, 6, 7, 8]


def test_all_is_every_stalled_key_and_every_dead_row(connection: psycopg.Connection[Any]) -> None:
    """And nothing of what waits."""
    stall(connection, "a")
    bury(connection, "key = 'b'")
    assert replay(connection, TABLES, stalls=None, dead=None) == Replayed(1, 3)
    assert ids_in(connection, TABLES.outbox) == [5, 9, 10, 11]
    assert dead_rows(connection, TABLES) == []
    assert all(one.next_at <= 0 for one in stalled_keys(connection, TABLES))


def test_what_is_not_there_is_told(connection: psycopg.Connection[Any]) -> None:
    """What is there is replayed all the same."""
    bury(connection, "id = 1")
    assert replay(connection, TABLES, stalls=["key:x"], dead=[1, 99]) == Replayed(0, 1, ("key:x", "99"))


def test_a_sleeping_relay_is_woken(connection: psycopg.Connection[Any], postgres_url: str) -> None:
    """A notification on the outbox' channel, when the repair is committed."""
    bury(connection, "id = 1")
    with closing(psycopg.connect(postgres_url, autocommit=True)) as listener:
        listener.execute(f"LISTEN {TABLES.channel}".encode())
        replay(connection, TABLES, dead=[1])
        heard = next(listener.notifies(timeout=10, stop_after=1))
        assert (heard.channel, heard.payload) == (TABLES.channel_name, "")


def test_the_first_row_of_a_stalled_key_is_skipped(connection: psycopg.Connection[Any]) -> None:
    """It is dead with the reason, the rest may leave at once, and other keys are left alone."""
    stall(connection, "a")
    stall(connection, "b")
    done = skip(connection, TABLES, "key:a")
    assert (done.stall, done.id, done.left) == ("key:a", 1, 3)
    (dead,) = dead_rows(connection, TABLES)
    assert (dead.id, dead.message_id, dead.reason, dead.attempts) == (1, done.message_id, "skipped", 3)
    assert dead.error == "returned: NO_ROUTE"
    assert ids_in(connection, TABLES.held) == [2, 3, 4, 6, 7, 8]
    stalled = {one.stall: (one.attempts, one.next_at <= 0) for one in stalled_keys(connection, TABLES)}
    assert stalled == {"key:a": (0, True), "key:b": (3, False)}


def test_what_does_not_stall_is_not_skipped(connection: psycopg.Connection[Any]) -> None:
    """One error for a key that is unknown, another for one with no rows left."""
    with pytest.raises(OutboxError, match="rmqpool outbox stalled"):
        skip(connection, TABLES, "key:nope")
    stall(connection, "a")
    assert [skip(connection, TABLES, "key:a").left for _ in range(4)] == [3, 2, 1, 0]
    with pytest.raises(OutboxError, match="no row left"):
        skip(connection, TABLES, "key:a")
    assert ids_in(connection, TABLES.dead) == [1, 2, 3, 4]


def mark_handled(connection: psycopg.Connection[Any], rows: int, age: str) -> None:
    """Marks of the inbox, so old."""
    connection.execute(
        f"INSERT INTO {TABLES.inbox} (consumer, message_id, done_at) SELECT 'c', gen_random_uuid()::text,"
        f" clock_timestamp() - interval '{age}' FROM generate_series(1, {rows})".encode()
    )


def test_only_what_is_older_is_removed_in_chunks(connection: psycopg.Connection[Any]) -> None:
    """Whatever the chunk: also one that fits exactly."""
    mark_handled(connection, 30, "31 days")
    mark_handled(connection, 5, "29 days")
    bury(connection, "key = 'a'")
    connection.execute(f"UPDATE {TABLES.dead} SET died_at = died_at - interval '2 days' WHERE id <> 4".encode())
    seen: list[Pruned] = []
    month, day = timedelta(days=30), timedelta(days=1)
    done = prune(connection, TABLES, inbox_older_than=month, dead_older_than=day, chunk=10, progress=seen.append)
    assert done == Pruned(inbox=30, dead=3)
    assert [one.inbox for one in seen] == [10, 20, 30, 30, 30]
    assert ids_in(connection, TABLES.dead) == [4]
    assert connection.execute(f"SELECT count(*) FROM {TABLES.inbox}".encode()).fetchone() == (5,)
    assert prune(connection, TABLES) == Pruned(0, 0)


def test_a_dry_run_counts_and_changes_nothing(connection: psycopg.Connection[Any]) -> None:
    """The same figures as the real run."""
    mark_handled(connection, 3, "2 days")
    bury(connection, "key = 'a'")
    stall(connection, "b")

    def everything() -> list[Any]:
        tables = (TABLES.outbox, TABLES.dead, TABLES.held)
        rest = [
            connection.execute(f"SELECT * FROM {table}".encode()).fetchall() for table in (TABLES.stalled, TABLES.inbox)
        ]
        return [*(all_of(connection, table) for table in tables), *rest]

    before = everything()
    none = timedelta(0)
    dry = (
        replay(connection, TABLES, stalls=None, dead=None, dry_run=True),
        skip(connection, TABLES, "key:b", dry_run=True),
        prune(connection, TABLES, inbox_older_than=none, dead_older_than=none, dry_run=True),
    )
    assert everything() == before
    assert dry[1] == skip(connection, TABLES, "key:b")
    assert dry[2] == Pruned(inbox=3, dead=4)
    assert replay(connection, TABLES, stalls=None, dead=None) == Replayed(1, dry[0].dead + 1)
    assert prune(connection, TABLES, inbox_older_than=none, dead_older_than=none) == Pruned(inbox=3, dead=0)


def test_a_replay_that_fails_changes_nothing(connection: psycopg.Connection[Any]) -> None:
    """A stalled key is not due if the dead rows could not be moved."""
    stall(connection, "b")
    bury(connection, "key = 'a'")
    connection.execute(f"ALTER TABLE {TABLES.outbox} ADD CONSTRAINT no CHECK (key <> 'a') NOT VALID".encode())
    with pytest.raises(OutboxError, match="Postgres said"):
        replay(connection, TABLES, stalls=None, dead=None)
    assert ids_in(connection, TABLES.dead) == [1, 2, 3, 4]
    assert stalled_keys(connection, TABLES)[0].next_at > 0
