"""A classic queue on its way to a quorum queue of the same name: where it stands, and what comes next. Pure.

The state of a migration is on the broker and nowhere else, so that whoever is interrupted, at whatever point, finds out
where it was: the temporary queue ``<queue>.migration`` carries the declaration of the new queue as an argument.

    queue     temporary   what comes next
    classic   -           PREPARE: make the temporary queue, and bind it as the queue is bound
    classic   there       EMPTY: move all messages out, delete the queue (only if it is empty and unused)
    -         there       DECLARE the new queue
    quorum    there       RETURN: bind the new queue as the temporary one is, move all back, delete the temporary one
    quorum    -           DONE
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rmqpool.core.topology_facts import QUEUE_TYPE, queue_from
from rmqpool.errors import ConfigurationError, MigrationError
from rmqpool.topology import DEAD_DELIVERY_LIMIT, Queue

__all__ = [
    "MARK",
    "Found",
    "Stage",
    "next_stage",
    "quorum_successor",
    "recipe",
    "successor_in",
    "temporary_arguments",
    "temporary_name",
    "unsafe_policy_keys",
]

MARK = "x-rmqpool-migration"
"""The argument of the temporary queue and its exchange: JSON, the declaration of the new queue."""

# Known to classic queues only; what they do has no counterpart that a migration could choose.
_DROPPED = frozenset({"x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator"})
# What a policy may say that lets the temporary queue drop or refuse messages.
_UNSAFE = ("message-ttl", "expires", "max-length", "max-length-bytes", "delivery-limit")


class Stage(enum.StrEnum):
    """What comes next."""

    PREPARE = "prepare"
    EMPTY = "empty"
    DECLARE = "declare"
    RETURN = "return"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Found:
    """A queue as it was found: its type, and whether it is marked as one of ours."""

    type: str
    marked: bool = False


def temporary_name(queue: str) -> str:
    """The queue, and the exchange, that a migration uses."""
    return f"{queue}.migration"


def next_stage(queue: str, old: Found | None, temporary: Found | None) -> Stage:
    """From what was found under the queue's name and the temporary one. Raises MigrationError if it cannot go on."""
    if temporary is not None and not temporary.marked:
        raise MigrationError(
            f"there is a queue {temporary_name(queue)!r} that no migration made: rename or delete it, and run this again"
        )
    if old is None:
        if temporary is None:
            raise MigrationError(f"queue {queue!r} does not exist: look for its name with rmqpool queues")
        return Stage.DECLARE
    if old.type == "quorum":
        return Stage.DONE if temporary is None else Stage.RETURN
    if old.type != "classic":
        raise MigrationError(f"queue {queue!r} is a {old.type} queue: only classic queues can be migrated")
    return Stage.PREPARE if temporary is None else Stage.EMPTY


def quorum_successor(told: Mapping[str, Any]) -> tuple[Queue, tuple[str, ...]]:
    """The quorum queue that does what the classic one did, and the names of the arguments that it cannot keep.

    ``told`` is the classic queue as the management API tells it. Raises MigrationError for a queue that lives no longer
    than its connection or its consumers, and for arguments that no quorum queue takes.
    """
    name = told["name"]
    for flag in ("exclusive", "auto_delete"):
        if told.get(flag):
            raise MigrationError(
                f"queue {name!r} is {flag}: a quorum queue cannot be; declare another one in its place"
            )
    kept = {key: value for key, value in (told.get("arguments") or {}).items() if key not in _DROPPED}
    dropped = [key for key in told.get("arguments") or {} if key in _DROPPED]
    if kept.get("x-overflow") == "reject-publish-dlx":
        kept["x-overflow"] = "reject-publish"
        dropped.append("x-overflow=reject-publish-dlx")
    kept[QUEUE_TYPE] = "quorum"
    kept["x-delivery-limit"] = Queue(name).declare_arguments()["x-delivery-limit"]
    bounded = "x-max-length" in kept or "x-max-length-bytes" in kept
    if "x-dead-letter-exchange" in kept and (kept.get("x-overflow") == "reject-publish" or not bounded):
        kept["x-overflow"] = "reject-publish"  # of no effect without a bound, and at-least-once needs it
        kept["x-dead-letter-strategy"] = "at-least-once"
    try:
        return queue_from({"name": name, "durable": True, "arguments": kept}), tuple(dropped)
    except ConfigurationError as error:
        raise MigrationError(f"{error}; say what the new queue shall be with --as MODULE:WORKER") from None


def temporary_arguments(successor: Queue) -> dict[str, Any]:
    """Of the temporary queue: nothing that drops a message, and what the new queue will be."""
    mark = json.dumps(successor.declare_arguments(), sort_keys=True)
    return {QUEUE_TYPE: "quorum", "x-delivery-limit": DEAD_DELIVERY_LIMIT, MARK: mark}


def successor_in(queue: str, temporary: Mapping[str, Any]) -> Queue:
    """The new queue, from the arguments of the temporary one. Raises MigrationError for a mark that cannot be read."""
    try:
        return queue_from({"name": queue, "durable": True, "arguments": json.loads(temporary[MARK])})
    except (KeyError, TypeError, ValueError, ConfigurationError) as error:
        raise MigrationError(
            f"the mark of {temporary_name(queue)!r} cannot be read ({error}): declare {queue!r} by hand, and run this again"
        ) from None


def unsafe_policy_keys(definition: object) -> list[str]:
    """What in the effective policy of the temporary queue could drop or refuse messages."""
    return [key for key in _UNSAFE if isinstance(definition, Mapping) and key in definition]


def recipe(queue: str, successor: Queue, bindings: int | None) -> list[str]:
    """What a migration does, step by step; ``bindings`` is how many there are, None if they are not known."""
    temporary = temporary_name(queue)
    arguments = json.dumps(successor.declare_arguments())
    bound = "its bindings" if bindings is None else f"its {bindings} binding{'' if bindings == 1 else 's'}"
    return [
        f"stop the consumers of {queue}, and pause publishers that publish to it by name; publishers to its exchanges may go on",
        f"declare {temporary} (quorum, no limits); bind it as {queue} is bound, and unbind {queue} ({bound})",
        f"move all messages of {queue} to {temporary}: publish, wait for the confirm, acknowledge",
        f"when nothing is ready or unacknowledged, and nothing came for a while, delete {queue}, if empty and unused",
        f"declare {queue} with {arguments}",
        f"bind {queue} as {temporary} is bound, and unbind {temporary}",
        f"move all messages back in the same way, delete {temporary}, start the consumers",
    ]
