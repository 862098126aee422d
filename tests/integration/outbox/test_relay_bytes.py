"""What a relay has in memory is bounded by bytes, and not only by rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest

from rmqpool import ConnectionPool
from rmqpool.outbox import Outbox, Relay, Tables
from rmqpool.outbox.claim import Claim
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.testing.waiting import wait_until

SIZE = 100_000
BUDGET = 4 * SIZE


@pytest.fixture
def connection(outbox_url: str) -> Iterator[psycopg.Connection[Any]]:
    """In autocommit, on a database with the outbox' tables."""
    with psycopg.connect(outbox_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def claim(outbox_url: str, connection: psycopg.Connection[Any]) -> Iterator[Claim]:
    """Of a relay that owns no lane yet."""
    lanes = RelayConnection(outbox_url, "lanes", autocommit=False, client_side=True)
    with closing(Claim(lanes, RelayStatements(Tables()), strict=False)) as claim:
        yield claim


def write(connection: psycopg.Connection[Any], count: int, size: int, queue: str = "q", **options: Any) -> None:
    """Commit messages."""
    with connection.transaction():
        Outbox().publish_many(connection, queue, [b"x" * size] * count, **options)


@pytest.mark.parametrize("lanes", [64, 32])
def test_a_reading_ends_where_the_bytes_do(connection: psycopg.Connection[Any], claim: Claim, lanes: int) -> None:
    """One row at least; what was not read comes with the next ones, each row once, in order within its lane."""
    claim.take_lanes(lanes)
    owned = list(claim.owned)
    with connection.transaction():
        for number in range(40):
            connection.execute(
                "INSERT INTO rmqpool_outbox (lane, exchange, routing_key, message_id, body) VALUES (%s, '', 'q', %s, %s)",
                [owned[number % 3], uuid.uuid4(), b"x" * SIZE],
            )
    assert claim.fetch(1000, 0, []) == []
    seen: list[int] = []
    by_lane: dict[int, list[int]] = {}
    for budget in [1, BUDGET, BUDGET + 1, *[BUDGET] * 20]:
        rows = claim.fetch(1000, budget, seen)
        assert len(rows) <= -(-budget // SIZE)
        assert rows or len(seen) == 40
        seen += [row.id for row in rows]
        for row in rows:
            by_lane.setdefault(row.lane, []).append(row.id)
    assert sorted(seen) == list(range(1, 41))
    assert all(ids == sorted(ids) for ids in by_lane.values())


def test_what_appears_late_still_comes_before_what_is_new(
    connection: psycopg.Connection[Any], claim: Claim, outbox_url: str
) -> None:
    """Also when the bytes end among the late ones: a later row of the same key must not overtake them."""
    claim.take_lanes(64)
    with psycopg.connect(outbox_url) as late:
        Outbox().publish_many(late, "q", [b"x" * SIZE] * 10, key="k")
        write(connection, 1, 10, key="k")
        late_ids = list(range(1, 11))
        assert [row.id for row in claim.fetch(1000, BUDGET, [])] == [11]
        late.commit()
    write(connection, 3, 10, key="k")
    seen: list[int] = [11]
    while len(seen) < 14:
        rows = claim.fetch(1000, BUDGET, seen)
        assert rows
        seen += [row.id for row in rows]
    assert seen == [11, *late_ids, 12, 13, 14]


def test_lengths_are_known_without_reading_the_bodies(connection: psycopg.Connection[Any], claim: Claim) -> None:
    """A reading of a few rows out of many large ones touches few pages, compressed or not."""
    connection.execute(
        "INSERT INTO rmqpool_outbox (lane, exchange, routing_key, message_id, body)"
        " SELECT 0, '', 'q', gen_random_uuid(), CASE WHEN n % 2 = 0 THEN decode(repeat('00', 200000), 'hex') ELSE"
        " (SELECT decode(string_agg(md5(n::text || m), ''), 'hex') FROM generate_series(1, 6250) AS m) END"
        " FROM generate_series(1, 100) AS n"
    )
    connection.execute("ANALYZE rmqpool_outbox")
    claim.take_lanes(64)
    parameters = {"low": 0, "floor": 0, "in_hand": [], "limit": 1000, "bytes": 1}
    explain = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + RelayStatements(Tables()).fetch_all
    ((plan,),) = claim.connection.peek(explain, parameters)
    top = plan[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 30, "its bodies lie in more than 1,000 pages"
    assert len(claim.fetch(1000, 1, [])) == 1


@pytest.mark.parametrize("order", ["key", "strict"])
def test_a_relay_has_no_more_in_hand_than_it_may(
    connection: psycopg.Connection[Any], outbox_url: str, vhost_url: str, queue_name: str, order: Any
) -> None:
    """``max_bytes``, and one body above it at most; a body that is larger than that leaves too."""
    with ExitStack() as stack:
        pool = stack.enter_context(ConnectionPool(vhost_url))
        with pool.channel() as channel:
            channel.queue_declare(queue_name, durable=True)
        write(connection, 100, SIZE, queue_name, key="k")
        write(connection, 3, 3 * BUDGET, queue_name)
        write(connection, 30, SIZE, "nowhere", key="held")
        relay = stack.enter_context(Relay(vhost_url, outbox_url, max_bytes=BUDGET, order=order))
        most = 0

        def is_empty() -> bool:
            nonlocal most
            most = max(most, relay.stats().bytes_in_hand)
            return connection.execute("SELECT count(*) FROM rmqpool_outbox").fetchone() == (0,)

        wait_until(is_empty, "everything to leave", timeout=30, interval=0.001)
        with pool.channel() as channel:
            assert channel.queue_declare(queue_name, passive=True).message_count == 103
            channel.queue_declare("nowhere", durable=True)
        connection.execute("UPDATE rmqpool_stalled SET next_at = clock_timestamp()")
        wait_until(
            lambda: is_empty() and connection.execute("SELECT count(*) FROM rmqpool_held").fetchone() == (0,),
            "the held rows to leave",
            timeout=30,
            interval=0.001,
        )
        assert 0 < most < BUDGET + 3 * BUDGET
        wait_until(lambda: relay.stats().bytes_in_hand == 0, "nothing in hand", timeout=5)
