"""Reach: how far each part of the table was read, and below what nothing can appear, in whatever order writers commit."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmqpool.core.reach import Reach

PARTS = (0, 1)


class ReachMachine(RuleBasedStateMachine):
    """Writers take ids in two parts of a table and end as they like; a relay reads past low, and past what it has."""

    @initialize(limit=st.integers(1, 4))
    def make(self, limit: int) -> None:
        self.limit = limit
        self.reach: Reach[int] = Reach()
        self.last_id = 0
        self.open: dict[int, int] = {}  # ids that are taken and neither committed nor rolled back, with their parts
        self.visible: dict[int, int] = {}
        self.read: set[int] = set()
        self.highest_low = 0

    @rule(part=st.sampled_from(PARTS), count=st.integers(1, 4))
    def ids_are_taken(self, part: int, count: int) -> None:
        for _ in range(count):
            self.last_id += 1
            self.open[self.last_id] = part

    @precondition(lambda self: self.open)
    @rule(data=st.data(), commits=st.sampled_from([True, True, False]))
    def some_writers_end(self, data: st.DataObject, commits: bool) -> None:
        for row_id in data.draw(st.lists(st.sampled_from(sorted(self.open)), unique=True, min_size=1)):
            part = self.open.pop(row_id)
            if commits:
                assert row_id > self.reach.low, "appeared where nobody looks any more"
                self.visible[row_id] = part

    @rule(settles=st.booleans())
    def all_parts_are_read(self, settles: bool) -> None:
        """The claim query: what appeared late first, and what is new only if that was all of it; low waits for that."""
        upper = min(self.open, default=self.last_id + 1) - 1
        complete = True
        for part in PARTS:
            floor = self.reach.floor(part)
            unread = sorted(row_id for row_id, its in self.visible.items() if its == part and row_id not in self.read)
            late = [row_id for row_id in unread if self.reach.low < row_id <= floor][: self.limit]
            new = [row_id for row_id in unread if row_id > floor][: self.limit]
            self.read.update(late)
            if len(late) == self.limit:
                complete = False
                continue
            self.read.update(new)
            self.reach.was_read(part, new[-1] if new else floor, to_the_end=len(new) < self.limit)
            assert self.reach.floor(part) >= floor
        if settles and complete:
            self.reach.settle(upper, PARTS)
            assert self.reach.low <= max(upper, self.highest_low)

    @rule()
    def lanes_change_hands(self) -> None:
        """Everything is read from 0 again; what was not removed by then is read a second time."""
        self.reach.reset()
        self.highest_low = 0
        self.read.clear()
        assert self.reach.low == 0
        assert all(self.reach.floor(part) == 0 for part in PARTS)

    @invariant()
    def nothing_below_low_is_unread_or_still_to_come(self) -> None:
        """Low only rises, no floor is below it, and all that is visible up to it was read."""
        low = self.reach.low
        assert low >= self.highest_low
        self.highest_low = low
        assert all(low <= self.reach.floor(part) <= max(low, self.last_id) for part in PARTS)
        assert all(row_id > low for row_id in self.open)
        assert all(row_id in self.read for row_id in self.visible if row_id <= low)

    def teardown(self) -> None:
        """When all writers have ended, reading on finds every row, and low reaches the last id."""
        if not hasattr(self, "reach"):
            return
        self.visible.update(self.open)
        self.open.clear()
        for _ in range(self.last_id + 2):
            self.all_parts_are_read(settles=True)
        assert self.read == set(self.visible)
        assert self.reach.low == self.last_id


TestWritersInAnyOrder = ReachMachine.TestCase
TestWritersInAnyOrder.settings = settings(stateful_step_count=40)


def test_a_part_that_was_not_read_to_its_end_keeps_low_at_its_floor() -> None:
    """Rows above its floor may be visible and unread, although nobody writes below the mark any more."""
    reach: Reach[int] = Reach()
    reach.was_read(0, 40, to_the_end=False)
    reach.was_read(1, 5, to_the_end=True)
    reach.settle(100, PARTS)
    assert reach.low == 40
    assert (reach.floor(0), reach.floor(1)) == (40, 40)
    reach.was_read(0, 90, to_the_end=True)
    reach.settle(100, PARTS)
    assert reach.low == 100
    reach.settle(70, PARTS)
    assert reach.low == 100


def test_a_part_that_was_never_read_keeps_low_where_it_is() -> None:
    """A lane that was only just taken may be full of rows."""
    reach: Reach[int] = Reach()
    reach.was_read(0, 40, to_the_end=True)
    reach.settle(100, PARTS)
    assert reach.low == 0
