"""Topology as text that can be read again: JSON in the form of RabbitMQ's definitions, and Python code. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rmqpool.core.topology_facts import binding_from, definition_of, exchange_from, is_brokers_own, queue_from
from rmqpool.errors import ConfigurationError
from rmqpool.topology import Binding, Exchange, Queue, Topology

__all__ = ["as_definitions", "as_python", "from_definitions", "from_json"]


def as_definitions(topology: Iterable[Topology]) -> dict[str, list[dict[str, Any]]]:
    """``{"exchanges": […], "queues": […], "bindings": […]}``, as RabbitMQ's own definitions have them."""
    items = list(topology)
    return {
        "exchanges": [definition_of(item) for item in items if isinstance(item, Exchange)],
        "queues": [definition_of(item) for item in items if isinstance(item, Queue)],
        "bindings": [definition_of(item) for item in items if isinstance(item, Binding)],
    }


def from_json(text: str, vhost: str) -> list[Topology]:
    """The values of an export, or of RabbitMQ's definitions (those of ``vhost``). Raises ConfigurationError."""
    try:
        told = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"it is no JSON ({error})") from None
    if not isinstance(told, dict) or not {"exchanges", "queues", "bindings"} & told.keys():
        raise ConfigurationError('it is no topology: {"exchanges": […], "queues": […], "bindings": […]} is expected')
    values, left_out = from_definitions(told, vhost)
    if left_out:
        raise ConfigurationError(left_out[0])
    return values


def from_definitions(told: Mapping[str, Any], vhost: str) -> tuple[list[Topology], list[str]]:
    """The values, without what belongs to the broker, and the sentences about what no value can say."""
    values: list[Topology] = []
    left_out: list[str] = []
    queues = [one for one in _of(told, "queues", vhost) if not is_brokers_own(str(one.get("name")))]
    known = [str(one.get("name")) for one in queues]
    exchanges = [one for one in _of(told, "exchanges", vhost) if not is_brokers_own(str(one.get("name")))]
    bindings = [one for one in _of(told, "bindings", vhost) if one.get("source")]

    def take(rows: Iterable[Mapping[str, Any]], make: Callable[[Mapping[str, Any]], Topology]) -> None:
        for one in rows:
            try:
                values.append(make(one))
            except ConfigurationError as error:
                left_out.append(str(error))
            except (KeyError, TypeError, ValueError) as error:
                left_out.append(f"{one}: it is not as RabbitMQ's definitions are ({error!r})")

    take(exchanges, exchange_from)
    take(queues, lambda one: queue_from(one, known))
    take(bindings, binding_from)
    return values, left_out


def _of(told: Mapping[str, Any], kind: str, vhost: str) -> list[Mapping[str, Any]]:
    found = told.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ConfigurationError(f"{kind} is no list of objects")
    return [one for one in found if one.get("vhost", vhost) == vhost]


def as_python(topology: Iterable[Topology]) -> str:
    """A module whose ``TOPOLOGY`` holds these values."""
    items = list(topology)
    names = [kind.__name__ for kind in (Binding, Exchange, Queue) if any(isinstance(item, kind) for item in items)]
    lines = [f"from rmqpool import {', '.join(names)}", ""] if names else []
    lines += ["TOPOLOGY = [", *(f"    {_code(item)}," for item in items), "]"]
    return "\n".join(lines) + "\n"


def _code(item: Topology) -> str:
    """The call that makes a value, with what is not its default only."""
    given: list[str] = []
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            given.append(repr(value))
        elif value != (field.default_factory() if callable(field.default_factory) else field.default):
            given.append(f"{field.name}={value!r}")
    return f"{type(item).__name__}({', '.join(given)})"
