"""What one child process does, and the figures that it answers with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import PoolRun, Waits

__all__ = ["CROWD_SECONDS", "OPENING", "USE", "PoolJob", "percentile", "run_of", "waits_of"]

OPENING, USE = 0.150, 0.002  # seconds, as HikariCP's spike has them
CROWD_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PoolJob:
    """``pool`` is a key of the way's POOLS, ``way`` "threads" or "tasks", ``action`` "spike", "pairs" or "crowd".

    ``callers`` come at once; ``repeat``: spikes, each on a new pool, or how many pairs are done in one batch.
    """

    pool: str
    way: str
    action: str
    minimum: int
    maximum: int
    callers: int
    repeat: int


def percentile(sorted_seconds: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed (nearest rank). Of nothing: ValueError. Pure."""
    if not sorted_seconds:
        raise ValueError("no times were measured")
    return sorted_seconds[max(0, math.ceil(share * len(sorted_seconds)) - 1)]


def waits_of(spikes: Sequence[Sequence[float]]) -> Waits:
    """How long callers waited: the median over all spikes of each percentile, and the longest of all. Pure."""
    ordered = [sorted(seconds) for seconds in spikes]
    p50, p90, p99 = (statistics.median(percentile(one, share) for one in ordered) for share in (0.5, 0.9, 0.99))
    return Waits(p50, p90, p99, max(one[-1] for one in ordered))


def run_of(
    spikes: Sequence[Sequence[float]], seconds: float, opened: float, largest_share: float | None = None
) -> PoolRun:
    """One run in figures; ``spikes`` are the waits of each. Pure."""
    return PoolRun(sum(map(len, spikes)), seconds, opened, waits_of(spikes), largest_share)
