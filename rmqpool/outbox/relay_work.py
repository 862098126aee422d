"""What a relay's settling thread is asked to do to rows, as values, and how each is done with one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements

__all__ = ["Bury", "Delete", "Hold", "SetStall", "Unstall", "Work", "do", "merge"]


@dataclass(frozen=True, slots=True)
class Delete:
    """These were confirmed. ``held``: they lie in the held table."""

    ids: tuple[int, ...]
    held: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Move these out of the hot table's way, to the held rows of their keys."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetStall:
    """A key stalls, or goes on doing so. ``delay`` is seconds until the next attempt."""

    stall: str
    lane: int
    attempts: int
    delay: float
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Bury:
    """A row is given up."""

    row_id: int
    held: bool
    attempts: int
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Unstall:
    """A key stalls no longer, if none of its rows is held."""

    stall: str


Work = Delete | Hold | SetStall | Bury | Unstall


def merge(work: Sequence[Work]) -> list[Work]:
    """The same work in fewer statements: deletes that follow each other become one."""
    merged: list[Work] = []
    for item in work:
        last = merged[-1] if merged else None
        if isinstance(item, Delete) and isinstance(last, Delete) and item.held == last.held:
            merged[-1] = Delete(last.ids + item.ids, item.held)
        else:
            merged.append(item)
    return merged


def do(work: Work, connection: RelayConnection, statements: RelayStatements) -> bool:
    """Run its statement. True, but for an Unstall that found held rows. Raises psycopg.Error.

    Every statement may run a second time, if nobody knows whether the first one was committed.
    """
    match work:
        case Delete(ids, held):
            connection.execute(statements.delete_held if held else statements.delete_hot, [list(ids)])
        case Hold(ids):
            connection.execute(statements.hold, [list(ids)])
        case SetStall(stall, lane, attempts, delay, reason, error):
            connection.execute(statements.stall, [stall, lane, attempts, delay, reason, error])
        case Bury(row_id, held, attempts, reason, error):
            sql = statements.bury_held if held else statements.bury_hot
            connection.execute(sql, [row_id, attempts, reason, error])
        case Unstall(stall):
            return connection.execute(statements.unstall, [stall]).rowcount > 0
    return True
