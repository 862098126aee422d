"""Rows that fail: their keys stall, nobody else does, and each row ends where it belongs."""

from __future__ import annotations

import pytest

from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.relay_bench import Bench, MakeRelay


def test_a_returned_row_stalls_its_key_and_nobody_else(bench: Bench, start: MakeRelay) -> None:
    """Once the queue is there the rest follows, in order."""
    relay = start()
    bench.write(1, 2, queue="later", key="slow")
    wait_until(lambda: bench.count("held") == 2, "both rows to be held", timeout=60)
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
    wait_until(lambda: relay.stats().stalled_keys == 0, "the stall to be over", timeout=60)


@pytest.mark.parametrize("relays", [1, 2])
def test_held_rows_whose_stall_was_deleted_are_sent_all_the_same(bench: Bench, start: MakeRelay, relays: int) -> None:
    """By a hand, or because it is not in the copy that was restored: housekeeping finds them, whoever owns the lane."""
    for _ in range(relays):
        start()
    bench.write(1, 2, queue="later", key="slow")
    bench.write(3, 4, queue="later")
    wait_until(lambda: bench.count("held") == 4, "the rows to be held", timeout=60)
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
    wait_until(lambda: bench.count("stalled") == 2, "two stalls", timeout=60)
    bench.write("on")
    assert bench.bodies(1) == ["on"]


def test_a_row_is_given_up_after_so_many_attempts_and_the_next_one_has_its_turn(bench: Bench, start: MakeRelay) -> None:
    """It lies in the dead table, with the reason; its key goes on."""
    start(max_attempts=2)
    (dead,) = bench.write("bad", queue="nowhere", key="k")
    wait_until(lambda: bench.count("stalled") == 1, "the stall", timeout=60)
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
    wait_until(lambda: bench.count("dead") == 1, "the row to be given up", timeout=60)
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
    wait_until(lambda: bench.count("held") == 10, "the rest to be held", timeout=60)
    assert bench.bodies(10) == list(range(10))
    bench.declare("not-yet")
    bench.connection.execute("UPDATE rmqpool_stalled SET next_at = clock_timestamp()")
    assert bench.bodies(9) == list(range(11, 20))
    assert bench.bodies(1, queue="not-yet") == [10]


def test_a_dead_row_with_an_id_that_comes_again_stops_nobody(bench: Bench, start: MakeRelay) -> None:
    """As after a fail-over, or TRUNCATE ... RESTART IDENTITY, which no relay keeps waiting."""
    relay = start(max_attempts=1)
    for number in range(2):
        bench.write(number, queue="nobody-takes-it")
        wait_until(lambda number=number: bench.count("dead") == number + 1, "a dead row", timeout=60)
        bench.wait_empty()
        bench.connection.execute("SET lock_timeout = '5s'")
        bench.connection.execute("TRUNCATE rmqpool_outbox RESTART IDENTITY")
    bench.write("x")
    assert bench.bodies(1) == ["x"]
    wait_until(lambda: relay.stats().trouble == "", "no trouble", timeout=60)
