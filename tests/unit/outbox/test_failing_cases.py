"""Single courses of failures that once went wrong, or nearly did."""

from __future__ import annotations

from rmqpool.core.flight import Flight
from rmqpool.core.stalls import Stalls
from rmqpool.outbox.failing import Failing
from rmqpool.outbox.outflow import Failure
from rmqpool.outbox.relay_values import Counters
from rmqpool.outbox.rows import Row
from tests.unit.outbox.failing_tables import BACKOFF, LateSettler, Tables, make_row


class Bench:
    """A relay's thread at rest, over model tables; nothing happens but what a test says."""

    def __init__(self, *keys: str | None, max_attempts: int = 3) -> None:
        self.tables = Tables()
        self.settler = LateSettler(self.tables)
        self.flight: Flight[Row] = Flight(100)
        self.stalls = Stalls(BACKOFF, max_attempts)
        self.failing = Failing(self.flight, self.stalls, self.settler, Counters())
        self.rows = {row_id: make_row(row_id, key) for row_id, key in enumerate(keys, start=1)}

    def commit(self, *ids: int) -> None:
        self.tables.hot.update({row_id: self.rows[row_id] for row_id in ids})

    def turn(self) -> list[int]:
        """Read what is there; returns what left."""
        self.failing.apply_done(self.tables.now)
        new = [row for row_id, row in sorted(self.tables.hot.items()) if row_id not in self.flight]
        self.failing.hold(self.flight.take(new, self.stalls.names))
        self.failing.read_due(self.tables, 100, self.tables.now)
        return [row.id for row in self.flight.next_to_send(100)]

    def fail(self, row_id: int) -> None:
        self.failing.failed(Failure(self.rows[row_id], "returned", "NO_ROUTE"), self.tables.now, 0.0)

    def confirm(self, *ids: int) -> None:
        self.failing.confirmed([self.rows[row_id] for row_id in ids], self.tables.now)

    def later(self, seconds: float = 60.0) -> list[int]:
        """Have all work done, let time pass, and take a turn."""
        self.settler.run(100)
        self.tables.now += seconds
        return self.turn()


def test_a_row_that_is_being_held_is_not_overtaken_after_its_keys_stall_ended() -> None:
    """Row 2 is held while the stall of row 1 is being ended: row 3 comes after it all the same."""
    bench = Bench("a", "a", "a")
    bench.commit(1)
    assert bench.turn() == [1]
    bench.fail(1)
    assert bench.later() == [1]
    bench.confirm(1)
    bench.settler.run(100)
    assert bench.turn() == []  # no held row is left: the stall is to end
    bench.commit(2)
    assert bench.turn() == []
    bench.settler.run(1)  # the stall has ended, and row 2 is not moved yet
    bench.commit(3)
    assert bench.turn() == []
    assert bench.later() == [2, 3]


def test_a_row_that_is_being_held_is_not_overtaken_when_lanes_are_lost_and_come_back() -> None:
    """The table does not know yet that row 1 failed: row 2 waits nevertheless."""
    bench = Bench("a", "a")
    bench.commit(1)
    assert bench.turn() == [1]
    bench.fail(1)
    bench.flight.drop_unsent()
    bench.stalls.forget()
    bench.failing.forget()
    bench.stalls.learn(bench.tables.known_stalls(), bench.tables.now)
    bench.commit(2)
    assert bench.turn() == []
    assert bench.later() == [1]


def test_rows_that_failed_together_are_one_attempt() -> None:
    """A queue is gone while many rows of a key are on their way: none of them is given up for that."""
    bench = Bench("a", "a", "a", "a", "a", max_attempts=3)
    bench.commit(1)
    assert bench.turn() == [1]
    bench.fail(1)
    bench.commit(2, 3, 4, 5)
    bench.turn()
    assert bench.later() == [1]
    bench.confirm(1)
    assert bench.later() == [2, 3, 4, 5]
    for row_id in (2, 3, 4, 5):
        bench.fail(row_id)
    assert bench.later() == [2]
    assert not bench.tables.dead
    stall = bench.stalls.get("key:a")
    assert stall is not None
    assert stall.attempts == 1


def test_a_dead_row_tells_how_often_its_key_failed() -> None:
    """The dead table says what was tried, not what is counted from now on."""
    bench = Bench(None, max_attempts=2)
    bench.commit(1)
    assert bench.turn() == [1]
    bench.fail(1)
    assert bench.later() == [1]
    bench.fail(1)
    bench.settler.run(100)
    assert bench.tables.dead == {1: 2}


def test_a_stall_ends_although_the_statement_that_ended_it_ran_twice() -> None:
    """The answer to the first one was lost, and the second found nothing: housekeeping sees that the key is free."""
    bench = Bench("a", "a")
    bench.commit(1)
    assert bench.turn() == [1]
    bench.fail(1)
    assert bench.later() == [1]
    bench.confirm(1)
    bench.settler.run(100)
    assert bench.turn() == []
    bench.settler.run(100, twice=True)
    bench.failing.apply_done(bench.tables.now)
    next_due = bench.stalls.next_due()
    assert next_due is None or next_due > bench.tables.now, "asks again without a pause"
    bench.stalls.learn(bench.tables.known_stalls(), bench.tables.now)
    assert len(bench.stalls) == 0
    bench.commit(2)
    assert bench.turn() == [2]


def test_held_rows_of_a_lane_that_is_not_owned_are_not_read() -> None:
    """Its owner sends them: two relays must not."""
    bench = Bench("a")
    bench.commit(1)
    assert bench.turn() == [1]
    bench.tables.owned.clear()
    bench.stalls.forget()
    bench.failing.forget()
    bench.fail(1)  # the outcome came late
    assert bench.later() == []
    assert len(bench.stalls) == 0
    assert list(bench.tables.held) == [1]
    assert list(bench.tables.stalled) == ["key:a"]
