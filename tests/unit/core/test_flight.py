"""What a relay has in hand: any interleaving of sending, outcomes, holding, losing lanes and reading again."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmqpool.core.flight import Flight

KEYS = (None, "a", "b")


class Line(NamedTuple):
    """A row as the flight sees it."""

    id: int
    key: str | None

    @property
    def stall(self) -> str:
        return f"row:{self.id}" if self.key is None else f"key:{self.key}"

    @property
    def size(self) -> int:
        return self.id % 3


class FlightMachine(RuleBasedStateMachine):
    """A table, and a relay that moves its rows through the flight; each row is in one state of the model at a time."""

    @initialize(capacity=st.integers(1, 12), window=st.sampled_from([None, 1, 1, 2, 3]))
    def make(self, capacity: int, window: int | None) -> None:
        self.window = window
        self.flight: Flight[Line] = Flight(capacity, window, max_bytes=10)
        self.table: dict[int, Line] = {}
        self.ready: list[int] = []  # in the order in which they were taken
        self.sent: set[int] = set()
        self.again: set[int] = set()
        self.first: set[int] = set()  # to be sent again, before anything that was not sent yet
        self.finished: set[int] = set()
        self.out: set[int] = set()  # on their way out of the hot table
        self.was_sent: set[int] = set()
        self.dropped: set[str | None] = {None}  # keys of which rows that had been sent were dropped
        self.last_id = 0

    def in_hand(self) -> set[int]:
        return {*self.ready, *self.sent, *self.again, *self.first, *self.finished, *self.out}

    def some(self, data: st.DataObject, ids: set[int] | list[int]) -> list[int]:
        return data.draw(st.lists(st.sampled_from(sorted(ids)), unique=True, min_size=1))

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=6))
    def rows_are_written(self, keys: list[str | None]) -> None:
        for key in keys:
            self.last_id += 1
            self.table[self.last_id] = Line(self.last_id, key)

    @rule(stalled=st.sampled_from([(), (), ("key:a",)]), again_too=st.booleans())
    def read(self, stalled: tuple[str, ...], again_too: bool) -> None:
        """Rows that are in hand may be read again; only as many new ones as there is room for."""
        before = self.in_hand()
        new = [row for row in self.table.values() if row.id not in before][: self.flight.room]
        rows = sorted([*new, *(self.table[row_id] for row_id in before)]) if again_too else new
        assert self.flight.unknown(row.id for row in rows) == [row.id for row in new]
        to_hold = self.flight.take(rows, stalled)
        assert to_hold == [row.id for row in new if row.stall in stalled]
        self.out.update(to_hold)
        self.ready += (row.id for row in new if row.stall not in stalled)

    @rule(limit=st.integers(1, 8))
    def send(self, limit: int) -> None:
        on_their_way = set(self.sent)
        rows = self.flight.next_to_send(limit)
        assert len(rows) <= limit
        if self.again and on_their_way:
            assert rows == [], "sent although something of unknown outcome has to go first"
            return
        self.first |= self.again
        self.again.clear()
        for row in rows:
            self.leaves(row)
        if self.window is None:
            assert len(rows) == min(limit, len(rows) + len(self.ready) + len(self.first))
        elif len(rows) < limit:
            for row_id in {*self.ready, *self.first}:
                key = self.table[row_id].key
                assert key is not None
                assert self.of_key_on_their_way(key) == self.window, "waits although its key has a place"

    def leaves(self, row: Line) -> None:
        if self.first:
            assert row.id == min(self.first), "what has to be sent again goes first, in the order of its ids"
            self.first.remove(row.id)
        else:
            assert row.id in self.ready, "sent twice, or after it was taken out"
            assert self.window is not None or row.id == self.ready[0], "not in the order in which they were taken"
            mine = [other for other in self.ready if self.same_key(other, row)]
            assert row.key is None or row.id == mine[0], "not the first of its key"
            self.ready.remove(row.id)
        if row.key is not None and row.key not in self.dropped:
            assert all(other < row.id for other in self.sent if self.same_key(other, row)), "out of its key's order"
        if row.id not in self.was_sent and row.key is not None:
            assert all(other < row.id for other in self.was_sent if self.same_key(other, row)), "overtook its key"
        self.sent.add(row.id)
        self.was_sent.add(row.id)

    def same_key(self, row_id: int, row: Line) -> bool:
        return self.table[row_id].key == row.key

    def of_key_on_their_way(self, key: str) -> int:
        """A row of unknown outcome keeps its place."""
        return sum(self.table[row_id].key == key for row_id in {*self.sent, *self.again, *self.first})

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def some_are_confirmed(self, data: st.DataObject) -> None:
        ids = self.some(data, self.sent)
        self.flight.finished(ids)
        self.sent.difference_update(ids)
        self.finished.update(ids)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def some_have_no_outcome(self, data: st.DataObject) -> None:
        ids = self.some(data, self.sent)
        self.flight.send_again(ids)
        self.sent.difference_update(ids)
        self.again.update(ids)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), all_of_the_key=st.booleans())
    def one_fails(self, data: st.DataObject, all_of_the_key: bool) -> None:
        row_id = self.some(data, self.sent)[0]
        self.flight.finished([row_id])
        self.sent.remove(row_id)
        self.finished.add(row_id)
        if all_of_the_key:
            self.take_out(self.table[row_id].stall)

    @rule(stall=st.sampled_from(["key:a", "key:b", "key:nobody"]))
    def take_out(self, stall: str) -> None:
        unsent = [*self.ready, *self.again, *self.first]
        expected = sorted(row_id for row_id in unsent if self.table[row_id].stall == stall)
        assert self.flight.take_out(stall) == expected
        self.ready = [row_id for row_id in self.ready if row_id not in expected]
        self.again.difference_update(expected)
        self.first.difference_update(expected)
        self.out.update(expected)

    @precondition(lambda self: self.finished or self.out)
    @rule(data=st.data())
    def some_are_removed(self, data: st.DataObject) -> None:
        self.remove(self.some(data, self.finished | self.out))

    def remove(self, ids: list[int]) -> None:
        self.flight.removed(ids)
        for row_id in ids:
            del self.table[row_id]
        self.finished.difference_update(ids)
        self.out.difference_update(ids)
        self.was_sent.difference_update(ids)

    @rule()
    def the_lanes_are_lost(self) -> None:
        self.flight.drop_unsent()
        self.dropped |= {self.table[row_id].key for row_id in self.again | self.first}
        self.ready, self.again, self.first = [], set(), set()

    @invariant()
    def figures_are_true(self) -> None:
        """The flight holds what the model holds, and never more of a key is on its way than the window allows."""
        flight = self.flight
        assert set(flight.ids) == self.in_hand()
        assert len(flight) == len(self.in_hand())
        assert flight.room >= 0
        assert flight.bytes == sum(self.table[row_id].size for row_id in self.in_hand())
        assert flight.room_bytes == max(0, 10 - flight.bytes)
        assert flight.on_their_way == len(self.sent)
        assert flight.waiting == len(self.ready) + len(self.again) + len(self.first)
        for row_id, row in self.table.items():
            assert (row_id in flight) == (row_id in self.in_hand())
            assert flight.get(row_id) == (row if row_id in flight else None)
        if self.window is not None:
            for key in ("a", "b"):
                on_their_way = sum(self.table[row_id].key == key for row_id in self.sent)
                assert on_their_way <= self.window

    @invariant()
    def no_key_keeps_what_it_does_not_need(self) -> None:
        """A key has a place for each row that is on its way or about to be, and a queue only with one of these."""
        if self.window is None:
            assert not self.flight._of_key
            assert not self.flight._gated
            return
        holders = [self.table[row_id] for row_id in (*self.sent, *self.again)]
        places = Counter(row.key for row in (*holders, *self.flight._let_in) if row.key is not None)
        assert self.flight._of_key == places
        assert set(self.flight._gated) <= set(places)

    def teardown(self) -> None:
        """However it went: when everything was sent, finished and removed, nothing is left."""
        if not hasattr(self, "flight"):
            return
        while self.in_hand():
            before = len(self.in_hand())
            self.send(100)
            done = sorted(self.sent)
            self.flight.finished(done)
            self.sent.clear()
            self.finished.update(done)
            self.remove(sorted(self.finished | self.out))
            assert len(self.in_hand()) < before, "rows wait, and none can leave"
        self.no_key_keeps_what_it_does_not_need()
        assert not self.flight._of_key
        assert not self.flight._gated


TestAnyInterleaving = FlightMachine.TestCase
TestAnyInterleaving.settings = settings(stateful_step_count=40)


@pytest.mark.parametrize("window", [None, 1, 2])
def test_a_key_that_was_taken_out_leaves_nothing_behind(window: int | None) -> None:
    """Keys come and go: what one of them needed must not stay for as long as the relay lives."""
    flight: Flight[Line] = Flight(10, window)
    flight.take([Line(row_id, "a") for row_id in range(1, 6)])
    first = [row.id for row in flight.next_to_send(10)]
    flight.finished(first)
    flight.removed([*first, *flight.take_out("key:a")])
    assert len(flight) == 0
    assert not flight._of_key
    assert not flight._gated


def test_what_has_no_outcome_is_sent_again_before_anything_new() -> None:
    """Rows 1 and 2 are open, 3 is new: 2 waits for 1, and then both leave before 3, in the order of their ids."""
    flight: Flight[Line] = Flight(10)
    flight.take([Line(1, "a"), Line(2, None)])
    assert [row.id for row in flight.next_to_send(10)] == [1, 2]
    flight.take([Line(3, "b")])
    flight.send_again([2])
    assert flight.next_to_send(10) == []
    flight.send_again([1])
    assert [row.id for row in flight.next_to_send(2)] == [1, 2]
    assert [row.id for row in flight.next_to_send(2)] == [3]
