"""What a relay's settling thread is asked to do to rows, as values, and how each is done with one statement."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements

__all__ = ["AddStalls", "Bury", "Delete", "Hold", "SetStall", "SetStalls", "Unstall", "Work", "do", "merge"]


@dataclass(frozen=True, slots=True)
class Delete:
    """These were confirmed. ``held``: they lie in the held table. ``message_ids`` belong to the ids."""

    ids: tuple[int, ...]
    held: bool = False
    message_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """Move these out of the hot table's way, to the held rows of their keys."""

    ids: tuple[int, ...]
    message_ids: tuple[str, ...] = ()
    stalls: tuple[str, ...] = ()  # what stalls of these: once for each piece of work that was merged


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
class SetStalls:
    """Many at once, in their order: of one key the last counts."""

    stalls: tuple[SetStall, ...]


@dataclass(frozen=True, slots=True)
class Bury:
    """A row is given up."""

    row_id: int
    held: bool
    attempts: int
    reason: str
    error: str
    message_id: str = ""


@dataclass(frozen=True, slots=True)
class Unstall:
    """A key stalls no longer, if none of its rows is held."""

    stall: str


@dataclass(frozen=True, slots=True)
class AddStalls:
    """Keys that have held rows, and are not known to stall: they are to be tried now. ``lanes`` belong to the names."""

    stalls: tuple[str, ...]
    lanes: tuple[int, ...]


Work = Delete | Hold | SetStall | SetStalls | AddStalls | Bury | Unstall


def merge(work: Sequence[Work]) -> list[Work]:
    """The same work in fewer statements: what follows each other and is of one kind becomes one.

    Stalls come before the rows that are held in the same breath: which of the two is first makes no difference.
    """
    merged: list[Work] = []
    for is_failing, run in itertools.groupby(work, lambda item: isinstance(item, SetStall | Hold)):
        if is_failing:
            merged += _failing(list(run))
            continue
        for item in run:
            last = merged[-1] if merged else None
            if isinstance(item, Delete) and isinstance(last, Delete) and item.held == last.held:
                merged[-1] = Delete(last.ids + item.ids, item.held, last.message_ids + item.message_ids)
            else:
                merged.append(item)
    return merged


def _failing(run: list[Work]) -> list[Work]:
    stalls = tuple(item for item in run if isinstance(item, SetStall))
    holds = [item for item in run if isinstance(item, Hold)]
    found: list[Work] = [SetStalls(stalls)] if stalls else []
    if holds:
        chain = itertools.chain.from_iterable
        parts = ([hold.ids for hold in holds], [hold.message_ids for hold in holds], [hold.stalls for hold in holds])
        found.append(Hold(tuple(chain(parts[0])), tuple(chain(parts[1])), tuple(chain(parts[2]))))
    return found


def do(work: Work, connection: RelayConnection, statements: RelayStatements) -> bool:
    """Run its statement. True, but for an Unstall that found held rows. Raises psycopg.Error.

    Every statement may run a second time, if nobody knows whether the first one was committed.
    """
    match work:
        case Delete(ids, held, message_ids):
            sql = statements.delete_held if held else statements.delete_hot
            connection.execute(sql, [list(ids), list(message_ids)])
        case Hold(ids, message_ids, _):
            connection.execute(statements.hold, [list(ids), list(message_ids)])
        case SetStall():
            return do(SetStalls((work,)), connection, statements)
        case SetStalls(stalls):
            last = {one.stall: one for one in stalls}.values()
            names = ("stall", "lane", "attempts", "delay", "reason", "error")
            connection.execute(statements.stalls, [[getattr(one, name) for one in last] for name in names])
        case AddStalls(names, lanes):
            connection.execute(statements.add_stalls, [list(names), list(lanes)])
        case Bury(row_id, held, attempts, reason, error, message_id):
            sql = statements.bury_held if held else statements.bury_hot
            connection.execute(sql, [row_id, message_id, attempts, reason, error])
        case Unstall(stall):
            return connection.execute(statements.unstall, [stall]).rowcount > 0
    return True
