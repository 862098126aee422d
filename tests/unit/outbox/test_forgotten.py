"""Held rows without a stall: every one is found, whatever the number, and asked for once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.outbox.forgotten import Forgotten
from rmqpool.outbox.relay_work import AddStalls, Work


class Tables:
    """Stalls with held rows, and those that the stalled table knows."""

    def __init__(self, held: dict[str, int], known: set[str], owned: set[int]) -> None:
        self.held, self.known, self.owned = held, known, owned
        self.work: list[Work] = []

    def held_stalls(self, after: str, limit: int) -> list[tuple[str, int, bool]]:
        names = [name for name in sorted(self.held) if name > after][:limit]
        return [(name, self.held[name], name in self.known) for name in names]

    def add(self, *work: Work) -> None:
        self.work.extend(work)

    def run(self) -> None:
        for work in self.work:
            assert isinstance(work, AddStalls)
            assert all(self.held[name] == lane for name, lane in zip(work.stalls, work.lanes, strict=True))
            self.known.update(work.stalls)
        self.work.clear()


@given(
    held=st.dictionaries(st.text("ab:", min_size=1, max_size=4), st.integers(0, 3), max_size=30),
    known=st.sets(st.text("ab:", min_size=1, max_size=4), max_size=10),
    owned=st.sets(st.integers(0, 3)),
    at_once=st.integers(1, 40),
)
def test_what_was_forgotten_in_owned_lanes_is_found(
    held: dict[str, int], known: set[str], owned: set[int], at_once: int
) -> None:
    """After one round everything of theirs is known, and nothing of other lanes was touched."""
    tables = Tables(held, set(known), owned)
    housekeeping = Forgotten(tables, at_once)
    for _ in range(7 + len(held) // at_once):
        housekeeping.look(tables)
        if tables.work:
            tables.run()
            housekeeping.added()
    assert tables.known == known | {name for name, lane in held.items() if lane in owned}


def test_what_cannot_be_added_now_is_not_asked_for_again_and_again() -> None:
    """The settling thread has it, and does it when it can."""
    tables = Tables({"key:a": 1}, set(), {1})
    housekeeping = Forgotten(tables)
    assert [housekeeping.look(tables) for _ in range(3)] == [1, 0, 0]
    tables.run()
    housekeeping.added()
    assert housekeeping.look(tables) == 0
