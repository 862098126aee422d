"""The difference between what is declared and what is there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.topology_facts import properties_of
from rmqpool.core.topology_plan import Broker, State, differences_between, plan_of
from rmqpool.topology import Binding, Exchange, Queue, Topology, expand

TOPOLOGY: tuple[Topology, ...] = (
    Exchange("events", type="topic"),
    Queue("orders"),
    Queue("audit", type="classic", dead_letter=None),
    Binding("events", "orders", "order.*"),
    Binding("events", "orders", "order.*", arguments={"note": 1}),
    Binding("events", "audit", "#"),
)
ALL = expand(TOPOLOGY)


def broker_with(items: list[Topology]) -> Broker:
    """A broker that has exactly these."""
    return Broker(
        queues={item.name: properties_of(item) for item in items if isinstance(item, Queue)},
        exchanges={item.name: properties_of(item) for item in items if isinstance(item, Exchange)},
        bindings=[item for item in items if isinstance(item, Binding)],
    )


@given(there=st.lists(st.sampled_from(range(len(ALL))), unique=True))
def test_what_is_there_is_present_and_the_rest_is_to_be_added(there: list[int]) -> None:
    """Implied dead-letter queues too; and in the order in which to declare."""
    plan = plan_of(TOPOLOGY, broker_with([ALL[place] for place in there]))
    assert [entry.item for entry in plan.entries] == list(ALL)
    assert [entry.state for entry in plan.entries] == [
        State.PRESENT if place in there else State.ADD for place in range(len(ALL))
    ]
    assert plan.undeclared == ()


def test_each_difference_has_both_values() -> None:
    """Flags, types, arguments; absent ones are None."""
    there = {"durable": True, "auto_delete": False, "exclusive": False, "x-queue-type": "classic", "x-max-length": 5}
    assert differences_between(Queue("q", dead_letter=None), there) == {
        "x-queue-type": ("quorum", "classic"),
        "x-delivery-limit": (100, None),
        "x-max-length": (None, 5),
    }
    assert plan_of([Queue("q", dead_letter=None)], Broker(queues={"q": there})).entries[0].state is State.DIFFERENT


@pytest.mark.parametrize(
    ("one", "other", "same"), [(1, 1.0, True), (True, 1, False), (True, True, True), ("1", 1, False)]
)
def test_values_are_compared_as_rabbitmq_does(one: Any, other: Any, same: bool) -> None:
    """Numbers by value; true is no number."""
    queue = Queue("q", dead_letter=None, arguments={"x-note": one})
    assert (not differences_between(queue, {**properties_of(queue), "x-note": other})) is same


def test_what_is_not_declared_is_told_apart() -> None:
    """Exchanges, queues, bindings; not queues that end with their connection."""
    others: list[Topology] = [Exchange("more"), Queue("old", type="classic", dead_letter=None), Binding("more", "old")]
    temporary = Queue("mine", type="classic", exclusive=True, dead_letter=None)
    plan = plan_of([], broker_with([*others, temporary]))
    assert plan.undeclared == (("exchange", "more"), ("queue", "old"), ("binding", "more -> old ()"))
    assert plan.entries == ()


def test_a_type_left_to_the_broker_is_no_difference() -> None:
    """``unstated`` says so."""
    queue = Queue("q", type="classic", dead_letter=None, unstated=("x-queue-type",))
    assert differences_between(queue, properties_of(Queue("q", type="classic", dead_letter=None))) == {}


def test_a_passive_queue_differs_from_nothing() -> None:
    """It is to be there, and that is all."""
    there = Queue("theirs", type="classic", dead_letter=None, max_priority=3)
    assert [entry.state for entry in plan_of([Queue("theirs", passive=True)], broker_with([there])).entries] == [
        State.PRESENT
    ]


def test_a_passive_queue_that_is_not_there_is_missing_and_not_to_be_added() -> None:
    """Adding it would be to declare somebody else's queue; its JSON claims no arguments, either."""
    (entry,) = plan_of([Queue("theirs", passive=True)], Broker()).entries
    assert entry.as_json() == {"state": "missing", "kind": "queue", "name": "theirs", "passive": True}
