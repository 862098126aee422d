"""The SQL of writing rows: one text for all drivers, rendered with each driver's own placeholders. Pure.

Parameters are the columns as arrays, one element a row: one statement, however many rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rmqpool.outbox.tables import Tables, quote_literal

__all__ = ["DOORBELL", "Style", "insert_rows", "insert_scheduled", "lock_class", "select_version"]

Style = Literal["dollar", "pyformat", "colon"]
"""``$1`` (asyncpg) · ``%(p1)s`` (psycopg, psycopg 2, Django) · ``:p1`` (SQLAlchemy's text())."""

DOORBELL = -1
"""The second key of the advisory lock that a relay holds while it is awake; lanes are 0 to 63."""

# Texts are cast twice: a driver that is told jsonb would pass them through the codec that the application has set for it.
_ROWS = """\
    INSERT INTO {table} ({due_column}lane, key, exchange, routing_key, message_id, properties, headers, body)
    SELECT {due_value}given.lane, given.key, given.exchange, given.routing_key, given.message_id, given.properties,
        given.headers, given.body
    FROM unnest(
        CAST({p1} AS smallint[]), CAST({p2} AS text[]), CAST({p3} AS text[]), CAST({p4} AS text[]),
        CAST(CAST({p5} AS text[]) AS uuid[]), CAST(CAST({p6} AS text[]) AS jsonb[]),
        CAST(CAST({p7} AS text[]) AS jsonb[]), CAST({p8} AS bytea[])
    ) WITH ORDINALITY
        AS given (lane, key, exchange, routing_key, message_id, properties, headers, body, position)
    ORDER BY given.position"""

# The bell rings only while every relay sleeps: a NOTIFY takes a lock of the whole instance at commit. The shared lock
# is taken and freed in this one statement; held until the end of the transaction it would keep the relay out.
_RINGING = """\
WITH added AS (
{rows}
), asleep AS MATERIALIZED (
    SELECT pg_try_advisory_lock_shared({lock_class}, {doorbell}) AS taken
)
SELECT pg_advisory_unlock_shared({lock_class}, {doorbell}), pg_notify({channel}, '') FROM asleep WHERE taken"""


@dataclass(frozen=True, slots=True)
class _Rendering:
    placeholder: Callable[[int], str]
    escape: Callable[[str], str]


_STYLES: dict[Style, _Rendering] = {
    "dollar": _Rendering(lambda number: f"${number}", lambda name: name),
    "pyformat": _Rendering(lambda number: f"%(p{number})s", lambda name: name.replace("%", "%%")),
    "colon": _Rendering(lambda number: f":p{number}", lambda name: name.replace(":", "\\:")),
}


def lock_class(table: str) -> str:
    """An SQL expression: the first key of advisory locks about a table, its oid as an int4 (oids are unsigned)."""
    return f"CAST(CAST(CAST(CAST(CAST({quote_literal(table)} AS regclass) AS oid) AS bigint) AS bit(32)) AS integer)"


@functools.lru_cache(maxsize=256)
def insert_rows(tables: Tables, style: Style, *, ring: bool = True) -> str:
    """Insert rows into the hot table; parameters 1 to 8 as :class:`rmqpool.outbox.rows.Columns` has them.

    ``ring`` wakes a sleeping relay when the transaction commits.
    """
    rendering = _STYLES[style]
    rows = _rows(rendering, tables.outbox, "", "")
    if not ring:
        return rows
    return _RINGING.format(
        rows=rows,
        lock_class=rendering.escape(lock_class(tables.outbox)),
        doorbell=DOORBELL,
        channel=rendering.escape(quote_literal(tables.channel_name)),
    )


@functools.lru_cache(maxsize=256)
def insert_scheduled(tables: Tables, style: Style) -> str:
    """Insert rows that are due later; parameter 9 is when (an aware datetime), 10 the seconds to add to it.

    With parameter 9 NULL the time starts from the database's clock.
    """
    rendering = _STYLES[style]
    given, delay = rendering.placeholder(9), rendering.placeholder(10)
    due = (
        f"coalesce(CAST({given} AS timestamptz), clock_timestamp()) "
        f"+ CAST({delay} AS double precision) * interval '1 second', "
    )
    return _rows(rendering, tables.scheduled, "due_at, ", due)


@functools.lru_cache(maxsize=256)
def select_version(tables: Tables, style: Style) -> str:
    """The newest version of the tables up to parameter 1; 0 if there is none."""
    rendering = _STYLES[style]
    table, newest = rendering.escape(tables.migrations), rendering.placeholder(1)
    return f"SELECT coalesce(max(version), 0) FROM {table} WHERE version <= CAST({newest} AS integer)"


def _rows(rendering: _Rendering, table: str, due_column: str, due_value: str) -> str:
    placeholders = {f"p{number}": rendering.placeholder(number) for number in range(1, 9)}
    return _ROWS.format(table=rendering.escape(table), due_column=due_column, due_value=due_value, **placeholders)
