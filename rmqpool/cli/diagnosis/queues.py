"""Queues as they are, against queues as a worker declares them: nothing is created, nothing is changed.

A queue that is not there is only told; one that is there is declared again with the arguments that are wanted, which
the broker answers with "equal" or with the first difference. The others are found by going along with that one and
asking again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rmqpool.cli.diagnosis.finding import Finding, problem, skipped, warning, well
from rmqpool.errors import AccessRefusedError, NotFoundError, PreconditionFailedError, RmqpoolError
from rmqpool.mismatch import CUT_OFF, explain_mismatch
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Queue

__all__ = ["Declaration", "look_at_queues"]

_CALL = 5.0  # seconds for each call
_MOST = 20  # differences of one queue
_FLAGS = ("durable", "auto_delete", "exclusive")


@dataclass(slots=True)
class Declaration:
    """The arguments of one queue.declare, which may be changed step by step towards those of the queue that is there."""

    name: str
    flags: dict[str, bool]
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, queue: Queue) -> Declaration:
        """What declaring ``queue`` sends."""
        return cls(queue.name, {flag: getattr(queue, flag) for flag in _FLAGS}, queue.declare_arguments())

    def follow(self, argument: str, there: str) -> bool:
        """Take over what is there; False if it cannot be told from its text."""
        if there == CUT_OFF:
            return False
        if argument in self.flags:
            self.flags[argument] = there == "true"
        elif there == "none":
            self.arguments.pop(argument, None)
        else:
            self.arguments[argument] = _value(there)
        return True


def look_at_queues(pool: ConnectionPool, queues: Iterable[Queue]) -> list[Finding]:
    """One finding for each queue."""
    return [_look(pool, queue) for queue in queues]


def _look(pool: ConnectionPool, queue: Queue) -> Finding:
    try:
        with pool.channel(_CALL) as channel:
            there = channel.queue_declare(queue.name, passive=True, timeout=_CALL)
        counts = f"{there.message_count} messages ready, {there.consumer_count} consumers"
        return _compare(pool, queue, counts)
    except NotFoundError:
        return warning(
            "queue",
            f"{queue.name} does not exist",
            "start its worker once, or publish with --declare: both declare it",
            queue=queue.name,
        )
    except AccessRefusedError as error:
        return problem(
            "queue",
            f"{queue.name}: no permission ({error.text})",
            "a worker declares its queues: it needs the configure permission for them",
            queue=queue.name,
        )
    except RmqpoolError as error:
        return problem("queue", f"{queue.name}: {error}", queue=queue.name)


def _compare(pool: ConnectionPool, queue: Queue, counts: str) -> Finding:
    differences = _differences(pool, Declaration.of(queue))
    if not differences:
        return well("queue", f"{queue.name} is as a worker declares it ({counts})", queue=queue.name)
    told = [
        f"{name}: there {there or '(empty)'}, wanted {wanted or '(empty)'}"
        for name, (wanted, there) in differences.items()
    ]
    return problem(
        "queue",
        "\n".join([f"{queue.name} exists with other arguments ({counts}):", *(f"  {line}" for line in told)]),
        "declare it as it is (a Queue with these arguments), or use another name; arguments of a queue never change",
        queue=queue.name,
        differences={name: {"wanted": wanted, "there": there} for name, (wanted, there) in differences.items()},
    )


def _differences(pool: ConnectionPool, declaration: Declaration) -> dict[str, tuple[str, str]]:
    """Argument -> (wanted, there). Raises whatever the broker says otherwise."""
    found: dict[str, tuple[str, str]] = {}
    while len(found) < _MOST:
        first = _first_difference(pool, declaration)
        new = {name: values for name, values in first.items() if name not in found}
        if not new:
            break
        found.update(new)
        if not all(declaration.follow(name, there) for name, (_, there) in new.items()):
            break
    return found


def _first_difference(pool: ConnectionPool, declaration: Declaration) -> dict[str, tuple[str, str]]:
    try:
        with pool.channel(_CALL) as channel:
            channel.queue_declare(declaration.name, **declaration.flags, arguments=declaration.arguments, timeout=_CALL)
    except PreconditionFailedError as error:
        differences = explain_mismatch(error.text)
        if not differences:
            raise
        return differences
    return {}


def _value(text: str) -> Any:
    """A value as it stands in the broker's text; its type is not told everywhere."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.lstrip("-").isdigit() else text


def not_reached(queues: Iterable[Queue], why: str) -> list[Finding]:
    """Findings for queues that could not be looked at."""
    return [skipped("queue", f"{queue.name}: {why}") for queue in queues]
