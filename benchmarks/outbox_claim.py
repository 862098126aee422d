"""P9: how long the relay's claim statement takes, by the number of waiting rows."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

import psycopg

from benchmarks.report import ClaimTime
from rmqpool.core.lanes import LANES
from rmqpool.outbox.claim import Claim
from rmqpool.outbox.migrations import migrate
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.outbox.tables import Tables

__all__ = ["measure_claims"]

_LIMIT = 1000
_BYTES = 64 * 2**20
_FILL = (
    "INSERT INTO {outbox} (lane, exchange, routing_key, message_id, body)"
    f" SELECT n %% {LANES}, '', 'nowhere', gen_random_uuid(), convert_to(repeat('x', 256), 'UTF8')"
    " FROM generate_series(1, %s) AS n"
)


def measure_claims(database: str, sizes: tuple[int, ...], executions: int = 50) -> tuple[ClaimTime, ...]:
    """The median of so many readings of 1,000 rows, seconds, by how many rows wait. Each size has tables of its own.

    The sizes take turns, after a checkpoint: what Postgres does behind a large insert slows all of them or none. Each
    reading is the first one of a claim begun anew (nothing read, nothing in hand), so it is the same work each time.
    """
    with ExitStack() as stack:
        filled = {size: _fill(database, size, stack) for size in sizes}
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        claims = {size: _claim(database, tables, stack) for size, tables in filled.items()}
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(executions):
            for size, claim in claims.items():
                seconds[size].append(_reading(claim))
    return tuple(ClaimTime(size, statistics.median(times)) for size, times in seconds.items())


def _fill(database: str, size: int, stack: ExitStack) -> Tables:
    """Tables with ``size`` waiting rows, which are removed at the end."""
    tables = Tables(prefix=f"claim{size}")
    with psycopg.connect(database, autocommit=True) as connection:
        migrate(connection, tables)
        connection.execute(_FILL.format(outbox=tables.outbox).encode(), [size])
        connection.execute(f"VACUUM ANALYZE {tables.outbox}".encode())
    stack.callback(_truncate, database, tables)
    return tables


def _claim(database: str, tables: Tables, stack: ExitStack) -> Claim:
    lanes = RelayConnection(database, "benchmark-claim", autocommit=False, client_side=True)
    claim = Claim(lanes, RelayStatements(tables), strict=False)
    stack.callback(claim.close)
    return claim


def _truncate(database: str, tables: Tables) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {tables.outbox}".encode())


def _reading(claim: Claim) -> float:
    claim.begin_anew(())
    claim.take_lanes(LANES)
    began = time.perf_counter()
    rows = claim.fetch(_LIMIT, _BYTES, ())
    took = time.perf_counter() - began
    if len(rows) != _LIMIT:
        raise ValueError(f"{len(rows):,} of {_LIMIT:,} rows were read")
    return took
