"""What is declared against what is there: to add, present, different, missing, not declared. Pure; nothing here asks a broker."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rmqpool.core.topology_facts import QUEUE_TYPE, definition_of, properties_of
from rmqpool.topology import Binding, Exchange, Queue, Topology, expand

__all__ = ["Broker", "Entry", "Plan", "State", "differences_between", "if_absent", "plan_of"]


class State(enum.StrEnum):
    """Where one declared value stands. ``UNSEEN``: a binding that AMQP has no means to look for. ``MISSING``: a passive
    queue that is not there, and is not ours to add.
    """

    ADD = "add"
    PRESENT = "present"
    DIFFERENT = "different"
    UNSEEN = "unseen"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Broker:
    """What a virtual host has: the properties of queues and exchanges by name, and the bindings (not the default ones)."""

    queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exchanges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bindings: Sequence[Binding] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One declared value. ``differences``: property -> (declared, there), None for an absent one."""

    item: Topology
    state: State
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        told: dict[str, Any] = {"state": str(self.state), "kind": kind_of(self.item), **definition_of(self.item)}
        if self.differences:
            told["differences"] = {
                name: {"declared": declared, "there": there} for name, (declared, there) in self.differences.items()
            }
        return told


@dataclass(frozen=True, slots=True)
class Plan:
    """One entry for each declared value, in the order in which to declare; ``undeclared`` is there and not declared."""

    entries: tuple[Entry, ...]
    undeclared: tuple[tuple[str, str], ...] = ()

    def of(self, state: State) -> tuple[Entry, ...]:
        """The entries in one state."""
        return tuple(entry for entry in self.entries if entry.state is state)

    def counts(self) -> dict[str, int]:
        """How many are in each state."""
        return {str(state): len(self.of(state)) for state in State}


def kind_of(item: Topology) -> str:
    """``queue``, ``exchange`` or ``binding``."""
    return type(item).__name__.lower()


def plan_of(declared: Iterable[Topology], broker: Broker) -> Plan:
    """The plan for ``declared`` with what it implies. Raises ConfigurationError if names clash."""
    items = expand(declared)
    there = {_key(binding) for binding in broker.bindings}
    entries = tuple(_entry(item, broker, there) for item in items)
    return Plan(entries, _undeclared(items, broker))


def _entry(item: Topology, broker: Broker, bindings: set[str]) -> Entry:
    if isinstance(item, Binding):
        return Entry(item, State.PRESENT if _key(item) in bindings else State.ADD)
    found = (broker.queues if isinstance(item, Queue) else broker.exchanges).get(item.name)
    if found is None:
        return Entry(item, if_absent(item))
    differences = differences_between(item, found)
    return Entry(item, State.DIFFERENT if differences else State.PRESENT, differences)


def if_absent(item: Queue | Exchange) -> State:
    """The state of a queue or exchange that is not there."""
    return State.MISSING if isinstance(item, Queue) and item.passive else State.ADD


def differences_between(item: Queue | Exchange, there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Property -> (declared, there) for each one that differs; None is an absent one."""
    if isinstance(item, Queue) and item.passive:
        return {}
    wanted = properties_of(item)
    names = [*wanted, *(name for name in there if name not in wanted)]
    if isinstance(item, Queue) and QUEUE_TYPE not in wanted:
        names.remove(QUEUE_TYPE)  # left to the broker's default
    return {name: (wanted.get(name), there.get(name)) for name in names if not _same(wanted.get(name), there.get(name))}


def _same(one: Any, other: Any) -> bool:
    """Equal as RabbitMQ compares: numbers by value, whatever their type on the wire; true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _undeclared(items: Sequence[Topology], broker: Broker) -> tuple[tuple[str, str], ...]:
    queues = {item.name for item in items if isinstance(item, Queue)}
    exchanges = {item.name for item in items if isinstance(item, Exchange)}
    bindings = {_key(item) for item in items if isinstance(item, Binding)}
    return (
        *(("exchange", name) for name in sorted(broker.exchanges) if name not in exchanges),
        *(
            ("queue", name)
            for name, there in sorted(broker.queues.items())
            if name not in queues and not there.get("exclusive")  # those end with their connections
        ),
        *(("binding", describe_binding(one)) for one in broker.bindings if _key(one) not in bindings),
    )


def describe_binding(binding: Binding) -> str:
    """``events -> orders (order.*)``, with arguments if there are any."""
    told = f"{binding.source} -> {binding.destination} ({binding.routing_key})"
    return f"{told} {binding.declare_arguments()}" if binding.arguments else told


def _key(binding: Binding) -> str:
    told = definition_of(binding)
    told["arguments"] = sorted((name, repr(value)) for name, value in told["arguments"].items())
    return repr(sorted(told.items()))
