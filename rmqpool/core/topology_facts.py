"""Queues, exchanges and bindings as a broker tells them, as flat properties and as the values that declare them. Pure.

The form is that of RabbitMQ's definitions (https://www.rabbitmq.com/docs/definitions) and of its management API, so that
an export of the broker's own can be read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rmqpool.errors import ConfigurationError
from rmqpool.topology import DELIVERY_LIMIT, Binding, Exchange, Queue, Topology, dead_queue_name
from rmqpool.topology_checks import QUEUE_FIELDS

__all__ = [
    "QUEUE_TYPE",
    "binding_from",
    "definition_of",
    "exchange_from",
    "is_brokers_own",
    "properties_of",
    "queue_from",
    "queue_properties",
]

QUEUE_TYPE = "x-queue-type"
_DEAD_LETTER = ("x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy")
_DEFAULTS = {"delivery_limit": DELIVERY_LIMIT}  # stated by a Queue that is not told it
_MILLISECONDS = ("x-message-ttl", "x-expires", "x-consumer-timeout")


def properties_of(item: Queue | Exchange) -> dict[str, Any]:
    """Everything that declaring ``item`` states: flags, type and arguments by their AMQP names."""
    flags: dict[str, Any] = {"durable": item.durable, "auto_delete": item.auto_delete}
    own = {"exclusive": item.exclusive} if isinstance(item, Queue) else {"type": item.type, "internal": item.internal}
    return {**flags, **own, **item.declare_arguments()}


def queue_properties(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a queue that the management API tells; its type is stated even where it was declared without."""
    arguments = dict(told.get("arguments") or {})
    arguments.setdefault(QUEUE_TYPE, told.get("type") or "classic")
    flags = {name: bool(told.get(name, False)) for name in ("durable", "auto_delete", "exclusive")}
    return {**flags, **arguments}


def is_brokers_own(name: str) -> bool:
    """True for what clients cannot declare: the default exchange, ``amq.`` exchanges and server-named queues."""
    return not name or name.startswith("amq.")


def exchange_from(told: Mapping[str, Any]) -> Exchange:
    """The value of an exchange as the broker tells it. Raises ConfigurationError if it cannot be declared."""
    arguments = dict(told.get("arguments") or {})
    alternate = arguments.pop("alternate-exchange", None)
    return Exchange(
        told["name"],
        type=told.get("type", "direct"),
        durable=told.get("durable", True),
        auto_delete=told.get("auto_delete", False),
        internal=told.get("internal", False),
        alternate_exchange=alternate,
        arguments=arguments,
    )


def binding_from(told: Mapping[str, Any]) -> Binding:
    """The value of a binding as the broker tells it. Raises ConfigurationError."""
    return Binding(
        told["source"],
        told["destination"],
        told.get("routing_key", ""),
        told.get("destination_type", "queue"),
        dict(told.get("arguments") or {}),
    )


def queue_from(told: Mapping[str, Any], known: Iterable[str] = ()) -> Queue:
    """The value that declares a queue exactly as the broker tells it, arguments that it lacks unstated.

    ``known`` are the names of queues that are declared beside it: its dead letters are named by queue then. Raises
    ConfigurationError if no value can say it.
    """
    wanted = dict(told.get("arguments") or {})
    kind = wanted.get(QUEUE_TYPE) or told.get("type") or "classic"
    wanted.setdefault(QUEUE_TYPE, kind)
    fields: dict[str, Any] = {
        QUEUE_FIELDS[name]: _seconds(value) if name in _MILLISECONDS else value
        for name, value in wanted.items()
        if name in QUEUE_FIELDS and name not in _DEAD_LETTER
    }
    fields.update(_dead_letter_fields(told["name"], kind, wanted, set(known)))
    fields["arguments"] = {name: value for name, value in wanted.items() if name not in QUEUE_FIELDS}
    fields.update({name: bool(told[name]) for name in ("durable", "auto_delete", "exclusive") if name in told})
    if kind == "quorum":
        fields.update({name: None for name, value in _DEFAULTS.items() if fields.get(name) == value})
    stated = Queue(told["name"], **fields).declare_arguments()
    queue = Queue(told["name"], **fields, unstated=tuple(name for name in stated if name not in wanted))
    if queue.declare_arguments() != wanted:
        raise ConfigurationError(f"queue {told['name']!r}: its arguments cannot be said by a Queue value: {wanted}")
    return queue


def _dead_letter_fields(name: str, kind: str, wanted: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    exchange, key = wanted.get("x-dead-letter-exchange"), wanted.get("x-dead-letter-routing-key")
    if exchange is None:
        return {"dead_letter": None}
    fields: dict[str, Any] = {"dead_letter_exchange": exchange, "dead_letter_routing_key": key}
    if exchange == "" and key in known and key != name:
        fields = {"dead_letter": True if key == dead_queue_name(name) else key}
    strategy = wanted.get("x-dead-letter-strategy")
    if kind == "quorum" and strategy != "at-least-once":
        fields["dead_letter_strategy"] = strategy or "at-most-once"  # left unstated, the broker does the same
    elif kind == "quorum" and wanted.get("x-overflow") == "reject-publish":
        fields["overflow"] = None  # stated by itself
    return fields


def definition_of(item: Topology) -> dict[str, Any]:
    """The JSON form of a value, as in RabbitMQ's definitions."""
    if isinstance(item, Binding):
        return {
            "source": item.source,
            "destination": item.destination,
            "destination_type": item.destination_type,
            "routing_key": item.routing_key,
            "arguments": item.declare_arguments(),
        }
    flags: dict[str, Any] = {"name": item.name, "durable": item.durable, "auto_delete": item.auto_delete}
    if isinstance(item, Exchange):
        return {**flags, "type": item.type, "internal": item.internal, "arguments": item.declare_arguments()}
    if item.passive:  # nothing else is known of it
        return {"name": item.name, "passive": True}
    return {**flags, "arguments": item.declare_arguments()}


def _seconds(milliseconds: Any) -> Any:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int):
        return milliseconds  # the field's own check says what is wrong
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000
