"""Rows whose keys fail: whatever the broker, the settling thread and lost lanes do, each row ends where it belongs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmqpool.core.backoff import Backoff
from rmqpool.core.flight import Flight
from rmqpool.core.stalls import Stalls
from rmqpool.outbox.failing import Failing
from rmqpool.outbox.outflow import Failure
from rmqpool.outbox.relay_values import Counters
from rmqpool.outbox.relay_work import Bury, Delete, Hold, SetStall, SetStalls, Unstall, Work, merge
from rmqpool.outbox.rows import Row

LANE = 7
BACKOFF = Backoff(1.0, 8.0)


def make_row(row_id: int, key: str | None) -> Row:
    return Row(row_id, LANE, key, "", "orders", str(row_id), None, None, b"{}")


class Tables:
    """The four tables, and what each statement does to them."""

    def __init__(self) -> None:
        self.owned = {LANE}
        self.now = 0.0
        self.hot: dict[int, Row] = {}
        self.held: dict[int, Row] = {}
        self.stalled: dict[str, tuple[int, float]] = {}  # attempts, next_at
        self.dead: dict[int, int] = {}
        self.deleted: set[int] = set()

    def fetch_held(self, stall: str, limit: int, max_bytes: int = 1) -> list[Row]:
        return [row for _, row in sorted(self.held.items()) if row.stall == stall][:limit]

    def known_stalls(self) -> list[tuple[str, int, int, float]]:
        return [(name, LANE, attempts, max(0.0, at - self.now)) for name, (attempts, at) in self.stalled.items()]

    def do(self, work: Work) -> bool:
        match work:
            case Delete(ids, held):
                for row_id in ids:
                    if (self.held if held else self.hot).pop(row_id, None):
                        self.deleted.add(row_id)
            case Hold(ids):
                for row in [self.hot.pop(row_id) for row_id in ids if row_id in self.hot]:
                    self.stalled.setdefault(row.stall, (0, self.now))
                    self.held[row.id] = row
            case SetStall(stall, _, attempts, delay):
                self.stalled[stall] = (attempts, self.now + delay)
            case SetStalls(stalls):
                for one in stalls:
                    self.do(one)
            case Bury(row_id, held, attempts):
                if (self.held if held else self.hot).pop(row_id, None):
                    self.dead[row_id] = attempts
            case Unstall(stall):
                if self.fetch_held(stall, 1):
                    return False
                return self.stalled.pop(stall, None) is not None
        return True


class LateSettler:
    """Runs work in order, when it is told to; a piece may run twice, as after a commit whose answer was lost."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.work: deque[Work] = deque()
        self.done: list[tuple[Work, bool]] = []

    def add(self, *work: Work) -> None:
        assert all(getattr(item, "ids", True) for item in work), "work without a row"
        self.work.extend(work)

    def collect(self) -> list[tuple[Work, bool]]:
        done, self.done = self.done, []
        return done

    def run(self, count: int, twice: bool = False) -> None:
        for item in merge([self.work.popleft() for _ in range(min(count, len(self.work)))]):
            if twice:
                self.tables.do(item)
            self.done.append((item, self.tables.do(item)))


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
TestAnyCourseOfFailures.settings = settings(max_examples=100, stateful_step_count=40)


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
