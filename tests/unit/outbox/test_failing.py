"""Rows whose keys fail: whatever the broker, the settling thread and lost lanes do, each row ends where it belongs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmqpool.core.flight import Flight
from rmqpool.core.stalls import Stalls
from rmqpool.outbox.failing import Failing
from rmqpool.outbox.outflow import Failure
from rmqpool.outbox.relay_values import Counters
from rmqpool.outbox.relay_work import Hold
from rmqpool.outbox.rows import Row
from tests.unit.outbox.failing_tables import BACKOFF, LateSettler, Tables, make_row


class FailingMachine(RuleBasedStateMachine):
    """A relay's turns over model tables, with a broker that confirms, returns, refuses or forgets."""

    @initialize(
        window=st.sampled_from([None, None, 1, 2]),
        max_attempts=st.integers(1, 4),
        capacity=st.sampled_from([2, 5, 50]),
    )
    def make(self, window: int | None, max_attempts: int, capacity: int) -> None:
        self.max_attempts = max_attempts
        self.tables = Tables()
        self.settler = LateSettler(self.tables)
        self.counters = Counters()
        self.flight: Flight[Row] = Flight(capacity, window)
        self.stalls = Stalls(BACKOFF, max_attempts)
        self.failing = Failing(self.flight, self.stalls, self.settler, self.counters)
        self.rows: dict[int, Row] = {}
        self.poison: set[int] = set()
        self.at_broker: dict[int, bool] = {}  # rows on their way; True: read from the held table
        self.was_sent: set[int] = set()
        self.confirmed: set[int] = set()
        self.failures: Counter[int] = Counter()
        self.hopeless: set[int] = set()
        self.has_lanes = True
        self.lost_lanes = False

    @property
    def now(self) -> float:
        return self.tables.now

    # The world.

    @rule(
        keys=st.lists(st.sampled_from([None, "a", "a", "b"]), min_size=1, max_size=5),
        poisoned=st.sampled_from([(), (), (0,), (0, 1, 2, 3, 4)]),
    )
    def rows_are_written(self, keys: list[str | None], poisoned: tuple[int, ...]) -> None:
        for place, key in enumerate(keys):
            row = make_row(len(self.rows) + 1, key)
            self.rows[row.id] = self.tables.hot[row.id] = row
            if place in poisoned:
                self.poison.add(row.id)

    @rule(seconds=st.sampled_from([0.01, 1.0, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.tables.now += seconds

    @rule(count=st.sampled_from([1, 1, 2, 3, 100]), twice=st.booleans())
    def work_is_settled(self, count: int, twice: bool) -> None:
        self.settler.run(count, twice)

    # The relay's thread, as rmqpool.outbox.relay_loop has it.

    @precondition(lambda self: self.has_lanes)
    @rule(limit=st.sampled_from([1, 3, 100]), keeps_house=st.booleans())
    def takes_a_turn(self, limit: int, keeps_house: bool) -> None:
        self.failing.apply_done(self.now)
        if keeps_house:
            self.stalls.learn(self.tables.known_stalls(), self.now)
        self.send(limit)
        if self.flight.room:
            hot = [row for row_id, row in sorted(self.tables.hot.items()) if row_id not in self.flight]
            rows = hot[: min(limit, self.flight.room)]
            self.failing.hold(self.flight.take(rows, self.stalls.names))
            self.failing.read_due(self.tables, min(limit, self.flight.room), self.now)
            self.send(limit)

    def send(self, limit: int) -> None:
        while rows := self.flight.next_to_send(limit):
            for row in rows:
                self.leaves(row)

    def leaves(self, row: Row) -> None:
        assert row.id not in self.at_broker, "on its way already"
        assert row.id not in self.confirmed, "sent again although it was confirmed"
        held = row.id in self.tables.held
        if not held and row.key is not None and row.id not in self.was_sent:
            to_be_held = {row_id for work in self.settler.work if isinstance(work, Hold) for row_id in work.ids}
            aside = (self.tables.held.keys() | to_be_held) - self.confirmed
            overtaken = [row_id for row_id in aside if row_id < row.id and self.rows[row_id].key == row.key]
            assert not overtaken, f"{row.id} leaves before {overtaken}, which are held"
        self.at_broker[row.id] = held
        self.was_sent.add(row.id)

    @precondition(lambda self: self.at_broker)
    @rule(
        data=st.data(), outcome=st.sampled_from(["confirmed", "confirmed", "returned", "returned", "again", "hopeless"])
    )
    def outcomes_come(self, data: st.DataObject, outcome: str) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.at_broker)), unique=True, min_size=1))
        self.outcomes(ids, outcome)

    def outcomes(self, ids: Sequence[int], outcome: str) -> None:
        for row_id in ids:
            del self.at_broker[row_id]
        if outcome == "again":
            self.flight.send_again(ids)
            return
        good = [] if outcome != "confirmed" else [row_id for row_id in ids if row_id not in self.poison]
        self.confirmed.update(good)
        if good:
            self.failing.confirmed([self.rows[row_id] for row_id in good], self.now)
        for row_id in [row_id for row_id in ids if row_id not in good]:
            self.failures[row_id] += 1
            if outcome == "hopeless":
                self.hopeless.add(row_id)
            failure = Failure(self.rows[row_id], "returned", "NO_ROUTE", hopeless=outcome == "hopeless")
            self.failing.failed(failure, self.now, 0.5)

    @precondition(lambda self: self.has_lanes)
    @rule()
    def the_lanes_are_lost(self) -> None:
        self.has_lanes, self.lost_lanes = False, True
        self.flight.drop_unsent()
        self.stalls.forget()
        self.failing.forget()

    @precondition(lambda self: not self.has_lanes)
    @rule(applies_done=st.booleans())
    def the_lanes_are_taken_again(self, applies_done: bool) -> None:
        if applies_done:
            self.failing.apply_done(self.now)
        self.has_lanes = True
        self.takes_a_turn(100, keeps_house=True)

    # Laws.

    @invariant()
    def no_row_is_lost_or_in_two_places(self) -> None:
        """Each row lies in one table, or was confirmed and deleted."""
        tables = self.tables
        places = [*tables.hot, *tables.held, *tables.dead, *tables.deleted]
        assert sorted(places) == sorted(self.rows)
        assert tables.deleted <= self.confirmed

    @invariant()
    def no_held_row_is_without_its_stall(self) -> None:
        """Nobody would ever look for it."""
        assert {row.stall for row in self.tables.held.values()} <= self.tables.stalled.keys()

    @invariant()
    def only_what_failed_often_enough_is_dead(self) -> None:
        """A row is given up when its key has failed so many times in a row, or when no attempt can end well."""
        for row_id, attempts in self.tables.dead.items():
            assert row_id not in self.confirmed
            assert row_id in self.hopeless or attempts == self.max_attempts
            assert attempts >= 1
            # The count is the key's: after another row's failures, or with what the table said, it may be less.
            one_is_enough = row_id in self.hopeless or self.lost_lanes or self.max_attempts == 1
            assert self.failures[row_id] >= (1 if one_is_enough else 2), "given up after one failure of many"

    @invariant()
    def no_count_is_negative(self) -> None:
        """Neither room nor rows in hand of a stalled key."""
        assert self.flight.room >= 0
        assert all(stall.busy >= 0 for stall in map(self.stalls.get, self.stalls.names) if stall is not None)

    def teardown(self) -> None:
        """However it went: with a broker that answers, all rows leave or are dead, and nothing is left of any stall."""
        if not hasattr(self, "tables"):
            return
        if not self.has_lanes:
            self.the_lanes_are_taken_again(applies_done=True)
        for _ in range(20 + 4 * self.max_attempts * len(self.rows)):
            self.takes_a_turn(100, keeps_house=True)
            self.outcomes(sorted(self.at_broker), "confirmed")
            self.settler.run(1000)
            self.tables.now += 60.0
            if not (self.tables.hot or self.tables.held or self.tables.stalled or len(self.stalls) or len(self.flight)):
                break
        tables = self.tables
        assert not tables.hot
        assert not tables.held
        assert not tables.stalled
        assert len(self.stalls) == 0
        assert len(self.flight) == 0
        assert not self.failing._held
        assert not self.failing._late
        assert tables.dead.keys() <= self.poison | self.hopeless | set(self.failures)
        assert self.poison <= tables.dead.keys()
        assert self.counters.buried == len(tables.dead)
        assert self.counters.removed == len(tables.deleted)
        self.no_row_is_lost_or_in_two_places()
        self.only_what_failed_often_enough_is_dead()


TestAnyCourseOfFailures = FailingMachine.TestCase
TestAnyCourseOfFailures.settings = settings(stateful_step_count=40)
