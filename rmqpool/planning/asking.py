"""What differs, found out over AMQP alone: passive declares, and declarations whose refusal names the difference.

A queue or exchange that is not there is only told; one that is there is declared again with the arguments that are
wanted, which the broker answers with "equal" or with the first difference. The others are found by going along with that
one and asking again. Nothing is changed. Bindings cannot be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rmqpool.core.topology_plan import Entry, Plan, State, if_absent
from rmqpool.errors import NotFoundError, PreconditionFailedError
from rmqpool.mismatch import CUT_OFF, explain_mismatch
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Binding, Exchange, Queue, Topology, expand

__all__ = ["Declaration", "differences_of", "plan_by_asking"]

_CALL = 5.0  # seconds for each call
_MOST = 20  # differences of one queue or exchange


@dataclass(slots=True)
class Declaration:
    """One declaration, which may be changed step by step towards what is there. ``flags`` are its AMQP fields."""

    name: str
    is_queue: bool
    flags: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, item: Queue | Exchange) -> Declaration:
        """What declaring ``item`` sends."""
        flags: dict[str, Any] = {"durable": item.durable, "auto_delete": item.auto_delete}
        if isinstance(item, Queue):
            return cls(item.name, True, {**flags, "exclusive": item.exclusive}, item.declare_arguments())
        return cls(item.name, False, {"type": item.type, **flags, "internal": item.internal}, item.declare_arguments())

    def follow(self, argument: str, there: str) -> bool:
        """Take over what is there; False if it cannot be told from its text."""
        if there == CUT_OFF:
            return False
        if argument in self.flags:
            self.flags[argument] = there if argument == "type" else there == "true"
        elif there == "none":
            self.arguments.pop(argument, None)
        else:
            self.arguments[argument] = _value(there)
        return True

    def send(self, pool: ConnectionPool) -> None:
        """Declare on a channel of its own. Raises PreconditionFailedError if what is there differs."""
        with pool.channel(_CALL) as channel:
            if self.is_queue:
                channel.queue_declare(self.name, **self.flags, arguments=self.arguments, timeout=_CALL)
            else:
                flags = dict(self.flags)
                kind = flags.pop("type")
                channel.exchange_declare(self.name, kind, **flags, arguments=self.arguments, timeout=_CALL)


def differences_of(pool: ConnectionPool, declaration: Declaration) -> dict[str, tuple[str, str]]:
    """Argument -> (wanted, there), as texts. It must be there: otherwise it is declared. Raises what the broker says."""
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


def plan_by_asking(pool: ConnectionPool, declared: Iterable[Topology]) -> Plan:
    """The plan as far as AMQP can tell it: bindings stay unseen. Raises ConfigurationError, AccessRefusedError."""
    return Plan(tuple(_entry(pool, item) for item in expand(declared)))


def _entry(pool: ConnectionPool, item: Topology) -> Entry:
    if isinstance(item, Binding):
        return Entry(item, State.UNSEEN)
    try:
        with pool.channel(_CALL) as channel:
            if isinstance(item, Queue):
                channel.queue_declare(item.name, passive=True, timeout=_CALL)
            else:
                channel.exchange_declare(item.name, item.type, passive=True, timeout=_CALL)
    except NotFoundError:
        return Entry(item, if_absent(item))
    if isinstance(item, Queue) and item.passive:
        return Entry(item, State.PRESENT)  # whatever its arguments
    differences = differences_of(pool, Declaration.of(item))
    return Entry(item, State.DIFFERENT if differences else State.PRESENT, differences)


def _first_difference(pool: ConnectionPool, declaration: Declaration) -> dict[str, tuple[str, str]]:
    try:
        declaration.send(pool)
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
