"""What is in an outbox, as values. Looks only; cheap on a million rows: counts go by an index and end at a bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rmqpool.core.lanes import LANES
from rmqpool.outbox.adapters.lent import lent
from rmqpool.outbox.asking import Ask, asking, at_once
from rmqpool.outbox.inspection_connection import names_of, transaction
from rmqpool.outbox.tables import Tables, quote_literal

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "COUNTED",
    "TIMEOUT",
    "Count",
    "DeadRow",
    "LaneStatus",
    "RelayStatus",
    "StalledKey",
    "Status",
    "dead_rows",
    "dead_rows_of",
    "relays_of",
    "stalled_keys",
    "stalled_keys_of",
    "status",
    "status_of",
]

COUNTED: Final = 100_000
"""Rows are counted up to here, in each table; beyond it the lanes that hold most share that number."""

TIMEOUT: Final = 30.0
"""Seconds for a statement that looks."""

_ALIVE = -2 % 2**32  # second keys of advisory locks, as pg_locks shows them
_AWAKE = -1 % 2**32
_OF_LANES = " lanes"  # what a relay adds to its name on the connection that holds its lanes


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows; with ``more`` there are at least so many."""

    rows: int
    more: bool = False

    @classmethod
    def of(cls, counted: int, bound: int) -> Count:
        """From counting up to ``bound`` + 1 rows."""
        return cls(min(counted, bound), counted > bound)

    def __add__(self, other: Count) -> Count:
        return Count(self.rows + other.rows, self.more or other.more)

    def __str__(self) -> str:
        return f"{self.rows:,}{'+' if self.more else ''}"


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane with rows: how many wait, and for how many seconds the first of them."""

    lane: int
    waiting: Count
    oldest_age: float


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """A session of a relay that is alive: its process id in Postgres, its name, and the lanes it owns."""

    pid: int
    name: str
    lanes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """An outbox at one moment. Ages are seconds; None where there is no such row. ``lanes`` are those with rows.

    ``awake`` says whether a relay is at work just now. ``next_due`` is seconds until the next scheduled row is due,
    negative if it is overdue.
    """

    waiting: Count
    oldest_age: float | None
    lanes: tuple[LaneStatus, ...]
    held: Count
    stalled: Count
    dead: Count
    scheduled: Count
    next_due: float | None
    relays: tuple[RelayStatus, ...]
    awake: bool


@dataclass(frozen=True, slots=True)
class StalledKey:
    """A key that fails. ``since`` and ``next_at`` are seconds from now (``next_at`` negative: due); ``held`` its rows."""

    stall: str
    lane: int
    attempts: int
    since: float
    next_at: float
    reason: str
    error: str
    held: Count
    first_id: int | None


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A row that was given up. Its body is not read."""

    id: int
    key: str | None
    exchange: str
    routing_key: str
    message_id: str
    created_at: datetime
    died_at: datetime
    attempts: int
    reason: str
    error: str


@lent
def status(connection: psycopg.Connection[Any], tables: Tables, *, counted: int = COUNTED) -> Status:
    """The state of the outbox now. Raises OutboxSchemaError, OutboxError, ConnectionLostError."""
    with transaction(connection, tables, timeout=TIMEOUT, read_only=True) as cursor:
        return at_once(status_of(asking(cursor), tables, counted=counted))


async def status_of(ask: Ask, tables: Tables, *, counted: int = COUNTED) -> Status:
    """As :func:`status`, in the transaction in which ``ask`` asks: nothing else may be done in it afterwards."""
    names = names_of(tables)
    # A table that was never analysed looks empty, and is read from end to end then.
    await ask("SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)")
    total, lanes = await _waiting(ask, names, counted)
    counts = {
        name: Count.of((await ask(_COUNT.format(table=names[name]), counted + 1))[0][0], counted)
        for name in ("held", "stalled", "dead", "scheduled")
    }
    ((next_due,),) = await ask(_NEXT_DUE.format_map(names))
    relays, awake = await relays_of(ask, tables)
    return Status(
        waiting=total,
        oldest_age=max((lane.oldest_age for lane in lanes), default=None),
        lanes=lanes,
        next_due=next_due,
        relays=relays,
        awake=awake,
        **counts,
    )


@lent
def stalled_keys(
    connection: psycopg.Connection[Any], tables: Tables, *, limit: int = 100, counted: int = COUNTED
) -> list[StalledKey]:
    """The keys that stall, those that do so for longest first. Raises as :func:`status`."""
    with transaction(connection, tables, timeout=TIMEOUT, read_only=True) as cursor:
        return at_once(stalled_keys_of(asking(cursor), tables, limit=limit, counted=counted))


async def stalled_keys_of(ask: Ask, tables: Tables, *, limit: int = 100, counted: int = COUNTED) -> list[StalledKey]:
    """As :func:`stalled_keys`, in the transaction in which ``ask`` asks."""
    found = await ask(_STALLED.format_map(names_of(tables)), counted + 1, limit)
    return [StalledKey(*told, Count.of(held, counted), first) for *told, held, first in found]  # type: ignore[call-arg]


@lent
def dead_rows(connection: psycopg.Connection[Any], tables: Tables, *, limit: int = 100) -> list[DeadRow]:
    """The rows that were given up, the newest ids first. Raises as :func:`status`."""
    with transaction(connection, tables, timeout=TIMEOUT, read_only=True) as cursor:
        return at_once(dead_rows_of(asking(cursor), tables, limit=limit))


async def dead_rows_of(ask: Ask, tables: Tables, *, limit: int = 100) -> list[DeadRow]:
    """As :func:`dead_rows`, in the transaction in which ``ask`` asks."""
    return [DeadRow(*row) for row in await ask(_DEAD.format_map(names_of(tables)), limit)]


async def _waiting(ask: Ask, names: dict[str, str], counted: int) -> tuple[Count, tuple[LaneStatus, ...]]:
    """All rows and each lane's. Rows of one lane lie far apart: a million of them take seconds, so they are not counted."""
    total = Count.of((await ask(_COUNT_ALL.format_map(names), counted + 1))[0][0], counted)
    bound = counted // LANES if total.more else counted
    lanes = {lane.lane: lane for lane in await _lanes(ask, names, range(LANES), bound)}
    full = [lane.lane for lane in lanes.values() if lane.waiting.more]
    if full and len(full) < LANES:
        lanes |= {lane.lane: lane for lane in await _lanes(ask, names, full, counted // len(full))}
    if not any(lane.waiting.more for lane in lanes.values()):
        total = sum((lane.waiting for lane in lanes.values()), Count(0))
    return total, tuple(lanes.values())


async def _lanes(ask: Ask, names: dict[str, str], lanes: Iterable[int], bound: int) -> list[LaneStatus]:
    bound = max(1, bound)
    found = await ask(_LANES.format_map(names), bound + 1, list(lanes))
    return [LaneStatus(lane, Count.of(rows, bound), age) for lane, rows, age in found if rows and age is not None]


async def relays_of(ask: Ask, tables: Tables) -> tuple[tuple[RelayStatus, ...], bool]:
    """The relays that are alive, and whether one is at work just now. A replica sees none of them."""
    table = quote_literal(tables.outbox).replace("%", "%%")
    found = await ask(_RELAYS.format(table=table), _ALIVE, LANES - 1, _AWAKE)
    alive = tuple(
        RelayStatus(pid, name.removesuffix(_OF_LANES), tuple(lanes))
        for pid, name, is_alive, lanes, _ in found
        if is_alive
    )
    return alive, any(awake for *_, awake in found)


_LANES = """
SELECT l.lane, (SELECT count(*) FROM (SELECT FROM {outbox} AS o WHERE o.lane = l.lane LIMIT %s) AS counted),
    CAST(extract(epoch FROM clock_timestamp() - first.created_at) AS float8)
FROM unnest(CAST(%s AS smallint[])) AS l (lane)
LEFT JOIN LATERAL (
    SELECT o.created_at FROM {outbox} AS o WHERE o.lane = l.lane ORDER BY o.lane, o.id LIMIT 1
) AS first ON true
ORDER BY l.lane"""
_COUNT_ALL = "SELECT count(*) FROM (SELECT FROM {outbox} ORDER BY id LIMIT %s) AS counted"
_COUNT = "SELECT count(*) FROM (SELECT FROM {table} LIMIT %s) AS counted"
_NEXT_DUE = "SELECT CAST(extract(epoch FROM min(due_at) - clock_timestamp()) AS float8) FROM {scheduled}"
_RELAYS = """
SELECT l.pid, coalesce(a.application_name, ''), bool_or(l.objid = %s),
    coalesce(array_agg(CAST(CAST(l.objid AS text) AS int) ORDER BY CAST(CAST(l.objid AS text) AS bigint))
        FILTER (WHERE CAST(CAST(l.objid AS text) AS bigint) <= %s), '{{}}'),
    bool_or(l.objid = %s AND l.mode = 'ExclusiveLock')
FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND l.classid = CAST({table} AS regclass)
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY l.pid, a.application_name ORDER BY l.pid"""
_STALLED = """
SELECT s.stall, s.lane, s.attempts, CAST(extract(epoch FROM clock_timestamp() - s.since) AS float8),
    CAST(extract(epoch FROM s.next_at - clock_timestamp()) AS float8), s.reason, s.error,
    (SELECT count(*) FROM (SELECT FROM {held} AS h WHERE h.stall = s.stall LIMIT %s) AS counted),
    (SELECT h.id FROM {held} AS h WHERE h.stall = s.stall ORDER BY h.id LIMIT 1)
FROM {stalled} AS s ORDER BY s.since, s.stall LIMIT %s"""
_DEAD = """
SELECT id, key, exchange, routing_key, CAST(message_id AS text), created_at, died_at, attempts, reason, error
FROM {dead} ORDER BY id DESC LIMIT %s"""
