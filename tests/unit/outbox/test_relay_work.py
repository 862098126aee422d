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
from rmqpool.outbox.relay_work import Bury, Delete, Hold, SetStall, Unstall, Work, do, merge
from rmqpool.outbox.tables import Tables

IDS = st.lists(st.integers(1, 99), min_size=1, max_size=3).map(tuple)
DELETES: st.SearchStrategy[Work] = st.builds(Delete, IDS, st.booleans())
OTHERS: st.SearchStrategy[Work] = st.one_of(
    st.builds(Hold, IDS),
    st.builds(Unstall, st.sampled_from(["key:a", "key:b"])),
    st.builds(Bury, st.integers(1, 99), st.booleans(), st.just(3), st.just("returned"), st.just("NO_ROUTE")),
)
STATEMENTS = RelayStatements(Tables())


def steps(work: list[Work]) -> list[object]:
    """Row by row, what the work does."""
    return [
        step
        for item in work
        for step in ([(item.held, row_id) for row_id in item.ids] if isinstance(item, Delete) else [item])
    ]


@given(st.lists(DELETES | OTHERS, max_size=12))
def test_merged_work_does_the_same_in_the_same_order(work: list[Work]) -> None:
    """Only deletes from one table that follow each other become one; nothing overtakes anything."""
    merged = merge(work)
    assert steps(merged) == steps(work)
    for one, next_one in pairwise(merged):
        both = isinstance(one, Delete) and isinstance(next_one, Delete)
        assert not both or cast(Delete, one).held != cast(Delete, next_one).held
    assert merge(merged) == merged


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
        (Delete((1, 2)), "delete_hot", [[1, 2]]),
        (Delete((1, 2), held=True), "delete_held", [[1, 2]]),
        (Hold((3, 4)), "hold", [[3, 4]]),
        (SetStall("key:a", 7, 2, 1.5, "returned", "NO_ROUTE"), "stall", ["key:a", 7, 2, 1.5, "returned", "NO_ROUTE"]),
        (Bury(5, False, 3, "nacked", "full"), "bury_hot", [5, 3, "nacked", "full"]),
        (Bury(5, True, 3, "nacked", "full"), "bury_held", [5, 3, "nacked", "full"]),
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
