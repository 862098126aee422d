"""The goals, as data: what is asked, where its figure comes from, and whether it was reached. Pure.

A goal that is not reached is told, with its figure; it never fails the run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.figures import find_result, median_connections, median_rate, ratio
from benchmarks.growth import threads_name
from benchmarks.pool_figures import PoolRatio, nanoseconds, p99
from benchmarks.pool_plan import (
    COLD,
    OURS,
    OURS_ASYNC,
    OURS_UNBOUNDED,
    PAIRS,
    PSYCOPG,
    PSYCOPG_ASYNC,
    SPIKE,
    SQLALCHEMY,
)
from benchmarks.report import Report

__all__ = [
    "FEW_ROWS",
    "GOALS",
    "LATENCY_RATE",
    "MANY_ROWS",
    "RELAY",
    "Goal",
    "RatioOf",
    "Verdict",
    "entries_asked_for",
    "judge",
    "pools_asked_for",
]

Figure = Callable[[Report], float | None]


@dataclass(frozen=True, slots=True)
class RatioOf:
    """The ratio of two median rates of one table."""

    scenario: str
    ours: str
    theirs: str

    def __call__(self, report: Report) -> float | None:
        return ratio(*(_rate(report, self.scenario, name) for name in (self.ours, self.theirs)))

    def without_figure(self, report: Report) -> list[str]:
        """Those of the two that have no rate."""
        return [name for name in (self.ours, self.theirs) if _rate(report, self.scenario, name) is None]


@dataclass(frozen=True, slots=True)
class Goal:
    """``at_least``: the figure must not be below ``asked``; otherwise not above it. ``unit`` follows the figure.

    ``part`` is the part of a run that gives the figure.
    """

    key: str
    part: str
    what: str
    asked: float
    figure: Figure
    unit: str = "×"
    at_least: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal with what was seen. ``seen`` None: ``lacking`` are missing, or their runs failed."""

    goal: Goal
    seen: float | None
    lacking: tuple[str, ...] = ()

    @property
    def reached(self) -> bool | None:
        """None where there is no figure."""
        if self.seen is None:
            return None
        return self.seen >= self.goal.asked if self.goal.at_least else self.seen <= self.goal.asked

    def __str__(self) -> str:
        goal, sign = self.goal, "≥" if self.goal.at_least else "≤"
        asked = f"{goal.key} {goal.what}: asked {sign} {_text(goal.asked)} {goal.unit}"
        if self.seen is None:
            return f"{asked}: no figure{' of ' if self.lacking else ''}{' and '.join(self.lacking)}"
        return f"{asked}, seen {_text(self.seen)} {goal.unit}: {'reached' if self.reached else 'NOT reached'}"


def judge(report: Report) -> list[Verdict]:
    """Every goal that this run was about, with its figure."""
    return [_verdict(goal, report) for goal in GOALS if goal.part in report.parts]


def entries_asked_for(scenario: str) -> frozenset[str]:
    """The names of the entries that the goals compare in a table."""
    ratios = [goal.figure for goal in GOALS if isinstance(goal.figure, RatioOf) and goal.figure.scenario == scenario]
    return frozenset(name for one in ratios for name in (one.ours, one.theirs))


def pools_asked_for(table: str) -> frozenset[str]:
    """The names of the pools that the goals compare in a table."""
    ratios = [goal.figure for goal in GOALS if isinstance(goal.figure, PoolRatio) and goal.figure.table == table]
    return frozenset(name for one in ratios for name in (one.ours, one.theirs))


def _verdict(goal: Goal, report: Report) -> Verdict:
    lacking = goal.figure.without_figure(report) if isinstance(goal.figure, RatioOf | PoolRatio) else ()
    return Verdict(goal, goal.figure(report), tuple(lacking))


def _rate(report: Report, scenario: str, name: str) -> float | None:
    found = find_result(report, scenario, name)
    return median_rate(found) if found else None


def _text(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}" if abs(figure) < 0.1 else f"{figure:.2f}"


def _connections_added(report: Report) -> float | None:
    few, many = (find_result(report, "growth-threads", threads_name(threads)) for threads in (32, 1000))
    counts = [median_connections(one) for one in (few, many) if one]
    return counts[1] - counts[0] if len(counts) == 2 and None not in counts else None  # type: ignore[operator]


def _lived_through(report: Report) -> float | None:
    return max(report.recovery.lived_through) if report.recovery and report.recovery.lived_through else None


def _fresh(report: Report) -> float | None:
    return max(report.recovery.fresh) if report.recovery and report.recovery.fresh else None


def _cap(report: Report) -> float | None:
    return report.recovery.cap if report.recovery else None


def _startup(report: Report, name: str) -> float | None:
    if report.footprint is None:
        return None
    return next((statistics.median(one.seconds) for one in report.footprint.startups if one.name == name), None)


def _import_ratio(report: Report) -> float | None:
    return ratio(_startup(report, IMPORT_RMQPOOL), _startup(report, IMPORT_PIKA))


def _help_milliseconds(report: Report) -> float | None:
    seconds = _startup(report, HELP)
    return None if seconds is None else seconds * 1000


def _idle_megabytes(report: Report) -> float | None:
    return report.footprint.idle_worker_bytes / 1_000_000 if report.footprint else None


def _relay_rate(report: Report) -> float | None:
    return _rate(report, "outbox", RELAY)


def _relay_beside_c(report: Report) -> float | None:
    return ratio(_relay_rate(report), _rate(report, "outbox", _C))


def _statements(report: Report) -> float | None:
    return statistics.median(report.outbox.statements) if report.outbox and report.outbox.statements else None


def _wal_bytes(report: Report) -> float | None:
    return statistics.median(report.outbox.wal_bytes) if report.outbox and report.outbox.wal_bytes else None


def _latency_milliseconds(report: Report, field: Literal["p50", "p99"]) -> float | None:
    latencies = report.outbox.latencies if report.outbox else ()
    return next((getattr(one, field) * 1000 for one in latencies if one.rate == LATENCY_RATE), None)


def _claim_ratio(report: Report) -> float | None:
    seconds = {one.rows: one.seconds for one in report.outbox.claims} if report.outbox else {}
    return ratio(seconds.get(MANY_ROWS), seconds.get(FEW_ROWS))


RELAY = "rmqpool Relay"
LATENCY_RATE = 300  # transactions a second
FEW_ROWS, MANY_ROWS = 1000, 1_000_000
IMPORT_RMQPOOL = "from rmqpool import Publisher, Worker"
IMPORT_PIKA = "import pika"
HELP = "rmqpool --help"
LONGEST_CAP = 5.0  # seconds, the most that the default of reconnect_max_delay may be
FRESH = 1.0  # seconds, far below that cap: whoever publishes now does not wait for a pause that began before

_C, _PIKA, _KOMBU, _AIO_PIKA = "C librabbitmq", "pika BlockingConnection", "kombu", "aio-pika"
_PUBLISH, _SUBMIT, _PUBLISH_MANY = "rmqpool publish", "rmqpool submit", "rmqpool publish_many"
_ASYNC, _WORKER, _ASYNC_WORKER = "rmqpool AsyncPublisher", "rmqpool Worker", "rmqpool Worker, async"
_GROWTH = "growth-threads"


def _beside(key: str, what: str, asked: float, scenario: str, ours: str, theirs: str) -> Goal:
    return Goal(key, scenario, what, asked, RatioOf(scenario, ours, theirs))


def _at_most(key: str, part: str, what: str, asked: float, figure: Figure, unit: str) -> Goal:
    return Goal(key, part, what, asked, figure, unit, at_least=False)


def _pairs(what: str, ours: str, theirs: str) -> Goal:
    return _at_most(
        "P12", "pool", f"acquire and release, {what}", 1.0, PoolRatio(PAIRS.key, ours, theirs, nanoseconds), "×"
    )


def _waits(what: str, table: str, ours: str, theirs: str) -> Goal:
    return _at_most("P12", "pool", f"99th percentile of waiting, {what}", 1.0, PoolRatio(table, ours, theirs, p99), "×")


GOALS: tuple[Goal, ...] = (
    _beside("P1", "publish_many beside the C client", 1.0, "many", _PUBLISH_MANY, _C),
    _beside("P1", "submit beside the C client", 1.0, "many", _SUBMIT, _C),
    _beside("P1", "publish_many beside aio-pika", 4.0, "many", _PUBLISH_MANY, _AIO_PIKA),
    _beside("P1", "submit beside aio-pika", 4.0, "many", _SUBMIT, _AIO_PIKA),
    _beside("P2", "publish from 32 threads beside kombu", 3.0, "threads", _PUBLISH, _KOMBU),
    _beside("P3", "publish one at a time beside pika", 1.1, "one", _PUBLISH, _PIKA),
    _beside("P3", "publish one at a time beside the C client", 0.75, "one", _PUBLISH, _C),
    _beside("P4", "AsyncPublisher beside aio-pika", 3.0, "many", _ASYNC, _AIO_PIKA),
    _beside("P5", "Worker beside the C client", 1.0, "consume", _WORKER, _C),
    _beside("P5", "Worker beside amqpstorm", 3.0, "consume", _WORKER, "amqpstorm"),
    _beside("P6", "async Worker beside aio-pika", 3.0, "consume", _ASYNC_WORKER, _AIO_PIKA),
    _beside("P6", "async Worker beside FastStream", 8.0, "consume", _ASYNC_WORKER, "FastStream"),
    Goal("P7", "outbox", "rows that one relay publishes", 20_000, _relay_rate, "rows/s"),
    Goal("P7", "outbox", "one relay beside the C client", 0.5, _relay_beside_c),
    _at_most("P7", "outbox", "statements of the relay", 0.02, _statements, "a row"),
    _at_most("P7", "outbox", "write-ahead log of the relay", 120, _wal_bytes, "B a row"),
    _at_most("P8", "outbox", "median from insert to confirm", 2, lambda r: _latency_milliseconds(r, "p50"), "ms"),
    _at_most("P8", "outbox", "99th percentile", 5, lambda r: _latency_milliseconds(r, "p99"), "ms"),
    _beside("P9", "1,000 publishing threads beside 32", 0.8, _GROWTH, threads_name(1000), threads_name(32)),
    _at_most("P9", _GROWTH, "connections that 1,000 threads add", 0, _connections_added, "more"),
    _at_most("P9", "outbox", "claim with 1,000,000 waiting rows beside 1,000", 1.5, _claim_ratio, "×"),
    _at_most(
        "P10", "recovery", "slowest first confirm after the broker is back", LONGEST_CAP + 0.5, _lived_through, "s"
    ),
    _at_most("P10", "recovery", "reconnect cap by default", LONGEST_CAP, _cap, "s"),
    _at_most("P10", "recovery", "slowest fresh publish, which cuts a back-off short", FRESH, _fresh, "s"),
    _at_most("P11", "footprint", f"{IMPORT_RMQPOOL}, beside {IMPORT_PIKA}", 1.5, _import_ratio, "×"),
    _at_most("P11", "footprint", HELP, 300, _help_milliseconds, "ms"),
    _at_most("P11", "footprint", "idle worker", 60, _idle_megabytes, "MB"),
    _pairs("beside psycopg_pool", OURS, PSYCOPG),
    _pairs("beside SQLAlchemy", OURS, SQLALCHEMY),
    _pairs("asyncio, beside psycopg_pool", OURS_ASYNC, PSYCOPG_ASYNC),
    _waits("a spike, beside psycopg_pool", SPIKE.key, OURS, PSYCOPG),
    _waits("a spike, beside SQLAlchemy", SPIKE.key, OURS, SQLALCHEMY),
    _waits("a spike, asyncio, beside psycopg_pool", SPIKE.key, OURS_ASYNC, PSYCOPG_ASYNC),
    _waits("a cold start, one opened at a time, beside psycopg_pool", COLD.key, OURS, PSYCOPG),
    _waits("a cold start, one opened at a time, asyncio, beside psycopg_pool", COLD.key, OURS_ASYNC, PSYCOPG_ASYNC),
    _waits("a cold start, all opened at once, beside SQLAlchemy", COLD.key, OURS_UNBOUNDED, SQLALCHEMY),
)
