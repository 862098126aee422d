"""Tables of resource pools as rows of texts, for a terminal and for a page. Pure."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.figures import ratio
from benchmarks.pool_figures import Figure, median_of, nanoseconds, p99
from benchmarks.report import PoolResult, PoolTable

__all__ = ["headings", "judged_by", "pool_rows"]

_RATIO = "ours ÷ it"
_WAYS = {"threads": "threads", "tasks": "asyncio"}
Column = tuple[str, Figure, Callable[[float], str]]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _number(figure: float) -> str:
    return f"{figure:,.0f}"


_WAITS: tuple[Column, ...] = (
    ("p50", lambda run: run.waits.p50 if run.waits else None, _milliseconds),
    ("p90", lambda run: run.waits.p90 if run.waits else None, _milliseconds),
    ("p99", p99, _milliseconds),
    ("longest", lambda run: run.waits.longest if run.waits else None, _milliseconds),
)
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "spike": (
        *_WAITS,
        ("all done", lambda run: run.seconds, _milliseconds),
        ("opened", lambda run: run.opened, _number),
    ),
    "pairs": (("acquire + release", nanoseconds, lambda one: f"{one:,.0f} ns"),),
    "crowd": (
        *_WAITS,
        ("leases/s", lambda run: run.leases / run.seconds, _number),
        ("largest share", lambda run: run.largest_share, "{:.2%}".format),
    ),
}
_KINDS = {"pool-pairs": "pairs", "pool-crowd": "crowd"}


def judged_by(table: PoolTable) -> Figure:
    """What the pools of a table are compared by: time of a lease without contention, else the 99th percentile."""
    return nanoseconds if table.key == "pool-pairs" else p99


def headings(table: PoolTable) -> tuple[str, ...]:
    """What stands over the columns."""
    return ("pool", "for", *(name for name, _, _ in _columns(table)), _RATIO, "remarks")


def pool_rows(table: PoolTable) -> list[tuple[str, ...]]:
    """A row for each pool, those that are missing included; the ratio is that of the first pool of its group."""
    first: dict[str, float | None] = {}
    for pool in table.pools:
        first.setdefault(pool.group, median_of(pool, judged_by(table)))
    return [_row(table, pool, first[pool.group]) for pool in table.pools]


def _row(table: PoolTable, pool: PoolResult, first: float | None) -> tuple[str, ...]:
    figures = ((median_of(pool, figure), form) for _, figure, form in _columns(table))
    share = ratio(first, median_of(pool, judged_by(table)))
    remarks = [pool.note] if pool.note else []
    if pool.missing:
        remarks.append(f"MISSING: {pool.missing}")
    if pool.failed:
        remarks.append(f"{len(pool.failed)} of {len(pool.failed) + len(pool.runs)} runs FAILED")
    return (
        pool.name,
        _WAYS.get(pool.group, pool.group),
        *("–" if figure is None else form(figure) for figure, form in figures),
        "–" if share is None else f"{share:.2f}",
        "; ".join(remarks),
    )


def _columns(table: PoolTable) -> tuple[Column, ...]:
    return _COLUMNS[_KINDS.get(table.key, "spike")]
