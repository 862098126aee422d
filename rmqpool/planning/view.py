"""What planning needs of a broker beyond AMQP, which can list nothing: RabbitMQ's management API, behind a small protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rmqpool.core.topology_facts import binding_from, is_brokers_own, queue_properties
from rmqpool.core.topology_plan import Broker
from rmqpool.errors import ConfigurationError
from rmqpool.topology import Binding

__all__ = ["BrokerView", "bindings_of", "broker_from", "is_listed"]

Told = Mapping[str, Any]


class BrokerView(Protocol):
    """One virtual host, as its API tells it (https://www.rabbitmq.com/docs/http-api-reference). Raises RmqpoolError."""

    def queues(self) -> Sequence[Told]:
        """All queues."""
        ...

    def exchanges(self) -> Sequence[Told]:
        """All exchanges, the broker's own too."""
        ...

    def bindings(self) -> Sequence[Told]:
        """All bindings, those of the default exchange too."""
        ...

    def queue(self, name: str) -> Told | None:
        """One queue; None if there is none."""
        ...

    def unacknowledged(self, name: str) -> int | None:
        """Messages of a queue that are delivered and not acknowledged; None if they are not counted."""
        ...

    def queue_bindings(self, name: str) -> Sequence[Told]:
        """Those that end at a queue."""
        ...


def broker_from(view: BrokerView) -> Broker:
    """All that a virtual host has and clients declare, for :func:`rmqpool.core.topology_plan.plan_of`."""
    queues = list(view.queues())
    passing = {told["name"] for told in queues if not is_listed(told)}
    return Broker(
        queues={told["name"]: queue_properties(told) for told in queues if not is_brokers_own(told["name"])},
        exchanges={told["name"]: _exchange(told) for told in view.exchanges() if not is_brokers_own(told["name"])},
        bindings=[one for one in _declarable(view.bindings()) if one.destination not in passing],
    )


def bindings_of(view: BrokerView, queue: str) -> list[Binding]:
    """The bindings that end at ``queue``, without the default exchange's."""
    return _declarable(view.queue_bindings(queue))


def _declarable(told: Sequence[Told]) -> list[Binding]:
    found = []
    for one in told:
        if not one["source"]:
            continue
        try:
            found.append(binding_from(one))
        except ConfigurationError:  # of a client that is more liberal than ours
            continue
    return found


def _exchange(told: Told) -> dict[str, Any]:
    flags = {name: bool(told.get(name, False)) for name in ("durable", "auto_delete", "internal")}
    return {**flags, "type": told.get("type"), **(told.get("arguments") or {})}


def is_listed(told: Told) -> bool:
    """False for what belongs to the broker, or to one connection only."""
    return not is_brokers_own(told["name"]) and not told.get("exclusive")
