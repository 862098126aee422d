"""Resource pools beside each other: HikariCP's spike, a cold start, the bare cost of a lease, and a crowd of threads.

Each run is a process of its own with one pool and a fake resource (benchmarks/pools); the rounds alternate.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from functools import partial

from pydantic import TypeAdapter, ValidationError

from benchmarks.alternating import Tell, Turn, take_turns
from benchmarks.children import MissingClientError, RunFailedError, python_environment, run_program
from benchmarks.goals import pools_asked_for
from benchmarks.pool_figures import nanoseconds
from benchmarks.pool_plan import POOL_SCENARIOS, PoolScenario
from benchmarks.pools.job import PoolJob
from benchmarks.report import PoolResult, PoolRun, PoolTable

__all__ = ["measure_pools"]

_DEADLINE = 60.0  # seconds for one run
_RUN = TypeAdapter(PoolRun)


def measure_pools(
    rounds: int,
    factor: int,
    short: bool,
    problems: list[str],
    tell: Tell,
    run: Callable[[PoolJob], PoolRun] | None = None,
) -> tuple[PoolTable, ...]:
    """All tables; ``short``: only what the goals compare. ``run`` is what does a job: a child process, if not given."""
    tables = []
    for scenario in POOL_SCENARIOS:
        chosen = scenario.only(pools_asked_for(scenario.key)) if short else scenario
        if chosen.entries:
            tables.append(_measure(chosen, rounds, factor, run or run_pool_job, tell))
    problems += (
        f"{table.key}: {pool.name} FAILED: {error}" for table in tables for pool in table.pools for error in pool.failed
    )
    return tuple(tables)


def run_pool_job(job: PoolJob) -> PoolRun:
    """A child process does it. Raises MissingClientError, RunFailedError."""
    command = [sys.executable, "-m", "benchmarks.pools", json.dumps(dataclasses.asdict(job))]
    paths = (python_environment()["PYTHONPATH"], os.environ.get("PYTHONPATH", ""))
    answer = run_program(command, {"PYTHONPATH": os.pathsep.join(filter(None, paths))}, _DEADLINE)
    if "missing" in answer:
        raise MissingClientError(answer["missing"])
    try:
        return _RUN.validate_python(answer)
    except ValidationError as error:
        raise RunFailedError("it ended without figures", str(answer)) from error


def _measure(
    scenario: PoolScenario, rounds: int, factor: int, run: Callable[[PoolJob], PoolRun], tell: Tell
) -> PoolTable:
    turns = [
        Turn(entry.name, partial(run, scenario.job(entry, factor)), entry.note, entry.way) for entry in scenario.entries
    ]
    rows = take_turns(scenario.key, turns, rounds, tell, _words)
    pools = (
        PoolResult(turn.name, turn.note, row.missing, tuple(row.samples), tuple(row.failed), turn.group)
        for turn, row in zip(turns, rows, strict=True)
    )
    return PoolTable(scenario.key, scenario.title, rounds, tuple(pools))


def _words(run: PoolRun) -> str:
    if run.waits is None:
        return f"{nanoseconds(run):,.0f} ns"
    return f"p50 {run.waits.p50 * 1000:.1f} ms, p99 {run.waits.p99 * 1000:.1f} ms, {run.opened:.0f} opened"
