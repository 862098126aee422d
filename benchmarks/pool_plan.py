"""What is measured of resource pools, as values: each table's pools, sizes and callers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from benchmarks.pools.job import OPENING, USE, PoolJob

__all__ = [
    "AIO_PIKA",
    "COLD",
    "CROWD",
    "KOMBU",
    "OURS",
    "OURS_ASYNC",
    "OURS_ASYNC_UNBOUNDED",
    "OURS_UNBOUNDED",
    "PAIRS",
]
__all__ += ["POOL_SCENARIOS", "PSYCOPG", "PSYCOPG_ASYNC", "SPIKE", "SQLALCHEMY", "PoolEntry", "PoolScenario"]

OURS, OURS_UNBOUNDED = "rmqpool ResourcePool", "rmqpool ResourcePool, growth=0"
OURS_ASYNC, OURS_ASYNC_UNBOUNDED = "rmqpool AsyncResourcePool", "rmqpool AsyncResourcePool, growth=0"
PSYCOPG, PSYCOPG_ASYNC = "psycopg_pool ConnectionPool", "psycopg_pool AsyncConnectionPool"
SQLALCHEMY, KOMBU, AIO_PIKA = "SQLAlchemy QueuePool", "kombu Resource", "aio_pika.pool Pool"
_SPIKES = 7  # of each run; what is told is the median of them


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """One pool: ``pool`` is its key in benchmarks.pools; ``note`` says who opens, and how many at a time."""

    name: str
    pool: str
    way: Literal["threads", "tasks"]
    note: str = ""


@dataclass(frozen=True, slots=True)
class PoolScenario:
    """One table: pools of the same sizes under the same callers. For the fields see :class:`PoolJob`."""

    key: str
    title: str
    action: Literal["spike", "pairs", "crowd"]
    minimum: int
    maximum: int
    callers: int
    repeat: int
    entries: tuple[PoolEntry, ...]

    def job(self, entry: PoolEntry, factor: int) -> PoolJob:
        """The work of one run, with ``factor`` times the usual repetitions."""
        return PoolJob(
            entry.pool, entry.way, self.action, self.minimum, self.maximum, self.callers, self.repeat * factor
        )

    def only(self, names: frozenset[str]) -> PoolScenario:
        """The same table with these pools."""
        return dataclasses.replace(self, entries=tuple(entry for entry in self.entries if entry.name in names))


_ONE, _UNBOUNDED = "opens one at a time above the minimum", "opens as many at a time as wait"
_THREADS = (
    PoolEntry(OURS, "rmqpool", "threads", _ONE),
    PoolEntry(OURS_UNBOUNDED, "rmqpool-unbounded", "threads", _UNBOUNDED),
    PoolEntry(PSYCOPG, "psycopg_pool", "threads", _ONE),
    PoolEntry(SQLALCHEMY, "sqlalchemy", "threads", "each caller opens; reset_on_return=None"),
    PoolEntry(KOMBU, "kombu", "threads", "each caller opens"),
)
_TASKS = (
    PoolEntry(OURS_ASYNC, "rmqpool", "tasks", _ONE),
    PoolEntry(OURS_ASYNC_UNBOUNDED, "rmqpool-unbounded", "tasks", _UNBOUNDED),
    PoolEntry(PSYCOPG_ASYNC, "psycopg_pool", "tasks", _ONE),
    PoolEntry(AIO_PIKA, "aio_pika", "tasks", "one caller opens at a time, the others wait for it"),
)


def _same_growth(entries: tuple[PoolEntry, ...]) -> tuple[PoolEntry, ...]:
    """Where nothing grows there is one of ours, and no word about who opens."""
    chosen = (entry for entry in entries if entry.name not in (OURS_UNBOUNDED, OURS_ASYNC_UNBOUNDED))
    return tuple(dataclasses.replace(entry, note="") for entry in chosen)


_TIMES = f"{OPENING * 1000:.0f} ms to open, {USE * 1000:.0f} ms to use"
SPIKE = PoolScenario(
    "pool-spike", f"A spike: 50 callers at once, {_TIMES}, 5 open, at most 20", "spike", 5, 20, 50, _SPIKES, _THREADS + _TASKS
)  # fmt: skip
COLD = PoolScenario(
    "pool-cold", f"A cold start: 50 callers at once, {_TIMES}, none open, at most 20", "spike", 0, 20, 50, _SPIKES,
    _THREADS + _TASKS,
)  # fmt: skip
PAIRS = PoolScenario(
    "pool-pairs", "Acquire and release, nobody else there", "pairs", 5, 20, 1, 200,
    _same_growth(_THREADS) + _same_growth(_TASKS),
)  # fmt: skip
CROWD = PoolScenario(
    "pool-crowd", "1,000 threads over a pool of 10, 2 ms to use, again and again", "crowd", 10, 10, 1000, 1,
    _same_growth(_THREADS),
)  # fmt: skip
POOL_SCENARIOS = (SPIKE, COLD, PAIRS, CROWD)
