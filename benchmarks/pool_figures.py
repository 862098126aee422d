"""Medians and ratios of resource pools, pure. A ratio exists only where both were measured in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import ratio
from benchmarks.report import PoolResult, PoolRun, Report

__all__ = ["PoolRatio", "median_of", "nanoseconds", "p99"]

Figure = Callable[[PoolRun], float | None]


def p99(run: PoolRun) -> float | None:
    """Seconds that all but one of a hundred callers did not wait longer than."""
    return run.waits.p99 if run.waits else None


def nanoseconds(run: PoolRun) -> float:
    """Of one acquire with its release."""
    return run.seconds / run.leases * 1e9


def median_of(result: PoolResult, figure: Figure) -> float | None:
    """The median over all rounds; None without a figure."""
    found = [value for run in result.runs if (value := figure(run)) is not None]
    return statistics.median(found) if found else None


@dataclass(frozen=True, slots=True)
class PoolRatio:
    """The ratio of two medians of one table."""

    table: str
    ours: str
    theirs: str
    figure: Figure

    def __call__(self, report: Report) -> float | None:
        return ratio(*(self._median(report, name) for name in (self.ours, self.theirs)))

    def without_figure(self, report: Report) -> list[str]:
        """Those of the two that have none."""
        return [name for name in (self.ours, self.theirs) if self._median(report, name) is None]

    def _median(self, report: Report, name: str) -> float | None:
        pools = (pool for table in report.pools if table.key == self.table for pool in table.pools)
        found = next((pool for pool in pools if pool.name == name), None)
        return median_of(found, self.figure) if found else None
