"""Work of the settling thread: what is merged does the same, and each kind has its statement."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.outbox.relay_work import AddStalls, Bury, Delete, Hold, SetStall, SetStalls, Unstall, Work, do, merge
from rmqpool.outbox.tables import Tables

IDS = st.lists(st.integers(1, 99), min_size=1, max_size=3).map(tuple)
DELETES: st.SearchStrategy[Work] = st.builds(Delete, IDS, st.booleans())
OTHERS: st.SearchStrategy[Work] = st.one_of(
    st.builds(Hold, IDS, st.just(()), st.sampled_from([("key:a",), ("key:a", "key:b")])),
    st.builds(
        SetStall,
        st.sampled_from(["key:a", "key:b"]),
        st.just(7),
        st.integers(1, 9),
        st.just(1.0),
        st.just("returned"),
        st.just(""),
    ),
    st.builds(AddStalls, st.just(("key:a",)), st.just((7,))),
    st.builds(Unstall, st.sampled_from(["key:a", "key:b"])),
    st.builds(Bury, st.integers(1, 99), st.booleans(), st.just(3), st.just("returned"), st.just("NO_ROUTE")),
)
STATEMENTS = RelayStatements(Tables())


def deletes(work: list[Work]) -> list[object]:
    """Row by row, what is deleted, and the other work between; neither stalls nor what is held."""
    return [
        step
        for item in work
        if not isinstance(item, Hold | SetStall | SetStalls)
        for step in ([(item.held, row_id) for row_id in item.ids] if isinstance(item, Delete) else [item])
    ]


def failures(work: list[Work]) -> list[list[object]]:
    """For each stretch between other work: which stalls are set, in order, and which rows are held."""
    found: list[list[object]] = [[], []]
    for item in work:
        if isinstance(item, SetStall):
            found[-2].append(item)
        elif isinstance(item, SetStalls):
            found[-2].extend(item.stalls)
        elif isinstance(item, Hold):
            found[-1] += [*item.ids, *item.stalls]
        elif found[-1] or found[-2]:
            found += [[], []]
    return found


@given(st.lists(DELETES | OTHERS, max_size=12))
def test_merged_work_does_the_same_in_the_same_order(work: list[Work]) -> None:
    """Only what follows each other and is of one kind becomes one; nothing overtakes anything of another kind."""
    merged = merge(work)
    assert deletes(merged) == deletes(work)
    held = [sorted(map(str, part)) if place % 2 else part for place, part in enumerate(failures(merged))]
    assert held == [sorted(map(str, part)) if place % 2 else part for place, part in enumerate(failures(work))]
    for one, next_one in pairwise(merged):
        both = isinstance(one, Delete) and isinstance(next_one, Delete)
        assert not both or cast(Delete, one).held != cast(Delete, next_one).held
        assert not (isinstance(one, Hold) and isinstance(next_one, Hold | SetStalls))


@dataclass
class Answer:
    rowcount: int


class RecordingConnection:
    """Notes what it is to execute."""

    def __init__(self, rowcount: int) -> None:
        self.rowcount = rowcount
        self.executed: list[tuple[bytes, list[object]]] = []

    def execute(self, sql: bytes, parameters: list[object]) -> Answer:
        self.executed.append((sql, parameters))
        return Answer(self.rowcount)


def run(work: Work, rowcount: int = 1) -> tuple[bool, bytes, list[object]]:
    connection = RecordingConnection(rowcount)
    done = do(work, cast(RelayConnection, connection), STATEMENTS)
    ((sql, parameters),) = connection.executed
    return done, sql, parameters


@pytest.mark.parametrize(
    ("work", "name", "parameters"),
    [
        (Delete((1, 2), message_ids=("a", "b")), "delete_hot", [[1, 2], ["a", "b"]]),
        (Delete((1, 2), True, ("a", "b")), "delete_held", [[1, 2], ["a", "b"]]),
        (Hold((3, 4), ("c", "d")), "hold", [[3, 4], ["c", "d"]]),
        (
            SetStall("key:a", 7, 2, 1.5, "returned", "NO_ROUTE"),
            "stalls",
            [["key:a"], [7], [2], [1.5], ["returned"], ["NO_ROUTE"]],
        ),
        (
            SetStalls((SetStall("a", 7, 1, 1.5, "nacked", ""), SetStall("a", 7, 2, 2.5, "nacked", ""))),
            "stalls",
            [["a"], [7], [2], [2.5], ["nacked"], [""]],
        ),
        (AddStalls(("key:a", "key:b"), (7, 8)), "add_stalls", [["key:a", "key:b"], [7, 8]]),
        (Bury(5, False, 3, "nacked", "full", "e"), "bury_hot", [5, "e", 3, "nacked", "full"]),
        (Bury(5, True, 3, "nacked", "full", "e"), "bury_held", [5, "e", 3, "nacked", "full"]),
        (Unstall("key:a"), "unstall", ["key:a"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_work_is_one_statement(work: Work, name: str, parameters: list[object]) -> None:
    """With the row's values in the order in which the statement takes them."""
    assert run(work) == (True, getattr(STATEMENTS, name), parameters)


def test_only_the_end_of_a_stall_depends_on_what_was_found() -> None:
    """Any other statement that finds nothing ran before; a stall with held rows goes on."""
    assert not run(Unstall("key:a"), rowcount=0)[0]
    assert run(Delete((1,)), rowcount=0)[0]
    assert run(Hold((1,)), rowcount=0)[0]
