"""Repairs of an outbox by hand: stalled keys and dead rows sent again, a row skipped, old rows removed.

A relay may be at work meanwhile. It finds what was changed here in the tables; a row that it has in hand may still leave
once, as it may after any crash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rmqpool.errors import OutboxError
from rmqpool.outbox.adapters.lent import lent
from rmqpool.outbox.inspection_connection import names_of, rows_of, transaction
from rmqpool.outbox.pruning import delete_old
from rmqpool.outbox.refusals import command
from rmqpool.outbox.tables import Tables

if TYPE_CHECKING:
    import psycopg

__all__ = ["Pruned", "Replayed", "Skipped", "prune", "replay", "skip"]

SKIPPED: Final = "skipped"
"""The reason of a dead row that :func:`skip` made."""

_TIMEOUT = 60.0  # seconds for a statement
_REPLAY_TIMEOUT = 600.0  # seconds: however many dead rows, they go in one transaction
_CHUNK = 10_000  # rows of one DELETE
_COLUMNS = "lane, key, exchange, routing_key, message_id, properties, headers, body, created_at"


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many stalled keys are due now and how many dead rows wait again; and what of the asked for was not there."""

    stalled: int
    dead: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The row that was given up, and how many of the same key stay behind it."""

    stall: str
    id: int
    message_id: str
    left: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were removed; with a dry run, how many would be."""

    inbox: int
    dead: int


@lent
def replay(
    connection: psycopg.Connection[Any],
    tables: Tables,
    *,
    stalls: Sequence[str] | None = (),
    dead: Sequence[int] | None = (),
    dry_run: bool = False,
) -> Replayed:
    """Let stalled keys and dead rows leave now; None means all of them. One transaction.

    A stalled key is due at once. A dead row goes back into the hot table, in the order of the ids, with a new id and
    the same message_id: behind what waits there already. ``dry_run`` only counts. Raises OutboxError, OutboxSchemaError,
    ConnectionLostError.
    """
    names = names_of(tables)
    with transaction(connection, tables, timeout=_REPLAY_TIMEOUT, read_only=dry_run) as cursor:
        parameters = (stalls is None, list(stalls or ()))
        due = rows_of(cursor, (_COUNT_STALLS if dry_run else _REPLAY_STALLS).format_map(names), *parameters)
        parameters_of_dead = (dead is None, list(dead or ()))
        raised = rows_of(cursor, (_COUNT_DEAD if dry_run else _REPLAY_DEAD).format_map(names), *parameters_of_dead)
        if not dry_run and (due or raised):
            rows_of(cursor, "SELECT pg_notify(%s, '')", tables.channel_name)
    found_stalls, found_dead = {stall for (stall,) in due}, {row_id for (row_id,) in raised}
    missing = [stall for stall in dict.fromkeys(stalls or ()) if stall not in found_stalls]
    missing += [str(row_id) for row_id in dict.fromkeys(dead or ()) if row_id not in found_dead]
    return Replayed(len(found_stalls), len(found_dead), tuple(missing))


@lent
def skip(connection: psycopg.Connection[Any], tables: Tables, stall: str, *, dry_run: bool = False) -> Skipped:
    """Give up the first row of a stalled key: it goes to the dead rows, and the rest may leave at once.

    Raises OutboxError if no such key stalls or none of its rows is held, and as :func:`replay`.
    """
    names = names_of(tables)
    with transaction(connection, tables, timeout=_TIMEOUT) as cursor:
        if not rows_of(cursor, _LOCK_STALL.format_map(names), stall):
            raise OutboxError(f"nothing stalls under {stall!r}; {command(tables, 'stalled')} lists what does")
        first = rows_of(cursor, _FIRST_HELD.format_map(names), stall)
        if not first:
            raise OutboxError(f"{stall!r} has no row left that could be skipped; a relay removes it from the list")
        row_id, message_id = first[0]
        if not dry_run:
            rows_of(cursor, _SKIP.format_map(names), row_id, SKIPPED, stall)
            # The row of the key stays: the relay that owns the lane removes it when nothing of the key is held.
            rows_of(cursor, _AT_ONCE.format_map(names), stall)
            rows_of(cursor, "SELECT pg_notify(%s, '')", tables.channel_name)
        ((left,),) = rows_of(cursor, _LEFT.format_map(names), stall, row_id)
    return Skipped(stall, row_id, message_id, left)


@lent
def prune(
    connection: psycopg.Connection[Any],
    tables: Tables,
    *,
    inbox_older_than: timedelta | None = None,
    dead_older_than: timedelta | None = None,
    dry_run: bool = False,
    chunk: int = _CHUNK,
    progress: Callable[[Pruned], object] | None = None,
) -> Pruned:
    """Remove inbox marks and dead rows older than that, by the database's clock; None leaves them.

    In chunks, each in a transaction of its own: what was removed stays removed if a later one fails. ``progress`` is
    called after each. The inbox must remember longer than the longest redelivery. Raises as :func:`replay`.
    """
    names, done = names_of(tables), {"inbox": 0, "dead": 0}
    for name, age in (("inbox", inbox_older_than), ("dead", dead_older_than)):
        if age is None:
            continue
        with transaction(connection, tables, timeout=_TIMEOUT, read_only=True) as cursor:
            before: datetime = rows_of(cursor, "SELECT clock_timestamp() - CAST(%s AS interval)", age)[0][0]
            if dry_run:
                sql = f"SELECT count(*) FROM {names[name]} WHERE {_DONE[name]} < %s"
                done[name] = rows_of(cursor, sql, before)[0][0]
        removed = 0 if dry_run else chunk
        while removed >= chunk:
            with transaction(connection, tables, timeout=_TIMEOUT) as cursor:
                sql = delete_old(names[name], _DONE[name], "%s")
                removed = cursor.execute(sql.encode(), [before, chunk]).rowcount
            done[name] += removed
            if progress is not None:
                progress(Pruned(**done))
    return Pruned(**done)


_DONE = {"inbox": "done_at", "dead": "died_at"}
_REPLAY_STALLS = """
UPDATE {stalled} SET next_at = clock_timestamp() WHERE %s OR stall = ANY(CAST(%s AS text[])) RETURNING stall"""
_COUNT_STALLS = "SELECT stall FROM {stalled} WHERE %s OR stall = ANY(CAST(%s AS text[]))"
_COUNT_DEAD = "SELECT id FROM {dead} WHERE %s OR id = ANY(CAST(%s AS bigint[]))"
_REPLAY_DEAD = f"""
WITH moved AS (
    DELETE FROM {{dead}} WHERE %s OR id = ANY(CAST(%s AS bigint[])) RETURNING id, {_COLUMNS}
), added AS (
    INSERT INTO {{outbox}} ({_COLUMNS}) SELECT {_COLUMNS} FROM moved ORDER BY moved.id
)
SELECT id FROM moved"""
_LOCK_STALL = "SELECT FROM {stalled} WHERE stall = %s FOR UPDATE"
_FIRST_HELD = "SELECT id, CAST(message_id AS text) FROM {held} WHERE stall = %s ORDER BY id LIMIT 1"
_SKIP = f"""
WITH moved AS (DELETE FROM {{held}} WHERE id = %s RETURNING id, stall, {_COLUMNS})
INSERT INTO {{dead}} (id, {_COLUMNS}, attempts, reason, error)
SELECT id, {", ".join(f"moved.{name}" for name in _COLUMNS.split(", "))}, s.attempts, %s, s.reason || ': ' || s.error
FROM moved JOIN {{stalled}} AS s ON s.stall = %s
RETURNING id"""
_AT_ONCE = "UPDATE {stalled} SET attempts = 0, next_at = clock_timestamp() WHERE stall = %s RETURNING stall"
_LEFT = "SELECT count(*) FROM {held} WHERE stall = %s AND id <> %s"
