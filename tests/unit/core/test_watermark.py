"""The watermark of strict order: nothing is missed and nothing overtakes, in whatever order writers commit."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rmqpool.core.watermark import Watermark


class WatermarkMachine(RuleBasedStateMachine):
    """Writers lock the table, take ids and end as they like; a relay in strict order emits what it reads.

    The sequence and the lock holders are read in two steps, so that writers come and go between them.
    """

    @initialize(limit=st.integers(1, 4))
    def make(self, limit: int) -> None:
        self.limit = limit
        self.watermark = Watermark()
        self.sequence = 0
        self.began = 0
        self.writers: dict[str, list[int]] = {}
        self.visible: set[int] = set()
        self.emitted: list[int] = []
        self.floor = 0
        self.read_sequence: int | None = None
        self.of_the_mark: set[str] = set()

    @rule()
    def a_writer_begins(self) -> None:
        """An INSERT locks the table before it asks for the first id."""
        self.began += 1
        self.writers[f"3/{self.began}"] = []

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), count=st.integers(1, 3))
    def a_writer_takes_ids(self, data: st.DataObject, count: int) -> None:
        ids = self.writers[data.draw(st.sampled_from(sorted(self.writers)))]
        for _ in range(count):
            self.sequence += 1
            ids.append(self.sequence)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), commits=st.booleans())
    def a_writer_ends(self, data: st.DataObject, commits: bool) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.writers))), commits)

    def end(self, writer: str, commits: bool) -> None:
        ids = self.writers.pop(writer)
        if commits:
            self.visible.update(ids)

    @precondition(lambda self: self.watermark.needs_mark)
    @rule()
    def the_sequence_is_read(self) -> None:
        if self.read_sequence is None:
            self.read_sequence = self.sequence

    @precondition(lambda self: self.watermark.needs_mark and self.read_sequence is not None)
    @rule()
    def the_mark_is_set(self) -> None:
        assert self.read_sequence is not None
        self.watermark.mark(self.read_sequence, set(self.writers))
        self.of_the_mark = set(self.writers)
        self.read_sequence = None
        assert not self.watermark.needs_mark

    @rule()
    def the_writers_are_read(self) -> None:
        self.watermark.still_there(set(self.writers))

    @precondition(lambda self: self.watermark.is_clear)
    @rule()
    def a_batch_is_emitted(self) -> None:
        readable = sorted(row_id for row_id in self.visible if self.floor < row_id <= self.watermark.upper)
        batch = readable[: self.limit]
        self.emitted += batch
        if batch:
            self.floor = batch[-1]
        if len(batch) < self.limit:
            self.watermark.used_up()
            assert self.watermark.needs_mark

    @invariant()
    def it_is_not_clear_while_a_writer_of_the_mark_is_there(self) -> None:
        """Nor ever while somebody who has not ended holds an id up to the mark."""
        watermark = self.watermark
        if watermark.is_clear:
            assert not self.of_the_mark & set(self.writers)
            assert all(row_id > watermark.upper for ids in self.writers.values() for row_id in ids)

    @invariant()
    def nothing_was_missed_or_overtaken(self) -> None:
        """What was emitted is in order, and nothing below it becomes visible afterwards."""
        assert self.emitted == sorted(set(self.emitted))
        assert {row_id for row_id in self.visible if row_id <= self.floor} == set(self.emitted)

    def teardown(self) -> None:
        """When all writers have ended, two marks at most bring out all that was committed."""
        if not hasattr(self, "watermark"):
            return
        for writer in sorted(self.writers):
            self.end(writer, commits=True)
        for _ in range(2):
            if self.watermark.needs_mark:
                self.watermark.mark(self.sequence, set())
            self.watermark.still_there(set())
            while self.watermark.is_clear:
                self.a_batch_is_emitted()
        assert self.emitted == sorted(self.visible)


TestWritersInAnyOrder = WatermarkMachine.TestCase
TestWritersInAnyOrder.settings = settings(stateful_step_count=40)


def test_a_writer_that_came_after_the_mark_holds_nothing_up() -> None:
    """Only those count who may have been given an id up to the mark."""
    watermark = Watermark()
    assert watermark.needs_mark
    assert not watermark.is_clear
    watermark.mark(7, {"3/1", "3/2"})
    watermark.still_there({"3/2", "3/9"})
    assert not watermark.is_clear
    watermark.still_there({"3/1", "3/9"})  # 3/1 is another one by now, or was misread: it had ended
    assert watermark.is_clear
    assert watermark.upper == 7
    watermark.used_up()
    assert not watermark.is_clear
