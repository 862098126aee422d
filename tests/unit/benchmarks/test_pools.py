"""benchmarks/pool_*.py and benchmarks/pools: what is measured of resource pools, and what is told of it."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.charts import pool_bars_of
from benchmarks.children import MissingClientError, RunFailedError
from benchmarks.pages import POOL_BEGIN, POOL_END, pool_figures, write_figures
from benchmarks.pool_plan import CROWD, OURS, PAIRS, POOL_SCENARIOS, PSYCOPG, SQLALCHEMY, PoolScenario
from benchmarks.pool_spike import measure_pools
from benchmarks.pool_tables import headings, pool_rows
from benchmarks.pools.job import PoolJob, percentile, run_of
from benchmarks.pools.running import RUNS
from benchmarks.pools.tasks import POOLS as FOR_TASKS
from benchmarks.pools.threads import POOLS as FOR_THREADS
from benchmarks.report import PoolRun, Report, Waits

WAITED = run_of([[0.001, 0.002]], 1.0, 5)
BENCH_ONLY = {"aio_pika"}  # not installed for the tests; the benchmark itself runs it
KINDS = [
    *(("threads", name) for name in FOR_THREADS),
    *(("tasks", name) for name in FOR_TASKS if name not in BENCH_ONLY),
]


def small_run(way: str, pool: str, action: str, callers: int = 4) -> PoolRun:
    """A run of a few callers over two resources."""
    return RUNS[way, action](PoolJob(pool, way, action, 1, 2, callers, 1))


@pytest.mark.parametrize(("way", "pool"), KINDS)
def test_every_pool_lends_to_all_callers_of_a_spike(way: str, pool: str) -> None:
    """Each caller has one wait, and no pool opens more than its maximum."""
    run = small_run(way, pool, "spike")
    assert run.leases == 4
    assert 1 <= run.opened <= 2
    assert run.waits
    assert 0 <= run.waits.p50 <= run.waits.p99 <= run.waits.longest <= run.seconds


@pytest.mark.parametrize(("way", "pool"), KINDS)
def test_every_pool_is_timed_without_contention(way: str, pool: str) -> None:
    """So many pairs in so many seconds."""
    run = small_run(way, pool, "pairs")
    assert run.leases == 1
    assert run.seconds > 0


@pytest.mark.parametrize("scenario", POOL_SCENARIOS, ids=lambda scenario: scenario.key)
def test_every_entry_can_be_run(scenario: PoolScenario) -> None:
    """The pool and the run exist, names are unique, and ours comes first."""
    for entry in scenario.entries:
        assert (entry.way, scenario.action) in RUNS
        assert entry.pool in (FOR_THREADS if entry.way == "threads" else FOR_TASKS)
    names = [entry.name for entry in scenario.entries]
    assert len(set(names)) == len(names)
    assert names[0] == OURS


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.9, 90), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_percentile_is_a_time_that_was_measured(share: float, value: float) -> None:
    """The nearest rank, and nothing between two of them."""
    assert percentile(range(1, 101), share) == value
    assert percentile([7.0], share) == 7.0


def test_one_disturbed_spike_of_three_is_the_longest_and_no_percentile() -> None:
    """Percentiles are those of the spike in the middle."""
    run = run_of([[1.0, 2.0], [1.5, 9.0], [1.2, 2.5]], 1.0, 5)
    assert run.leases == 6
    assert run.waits == Waits(1.2, 2.5, 2.5, 9.0)


def test_no_times_have_no_percentile() -> None:
    """A run without a lease is no run of zero seconds."""
    with pytest.raises(ValueError, match="no times"):
        percentile([], 0.5)


def test_short_runs_only_what_the_goals_compare() -> None:
    """No goal is about the crowd; factors are passed on."""
    jobs: list[PoolJob] = []

    def run(job: PoolJob) -> PoolRun:
        jobs.append(job)
        return WAITED

    tables = measure_pools(2, 3, True, [], lambda _: None, run)
    assert CROWD.key not in {table.key for table in tables}
    assert "kombu" not in {job.pool for job in jobs}
    assert {job.repeat for job in jobs if job.action == "pairs"} == {3 * PAIRS.repeat}
    assert {len(pool.runs) for table in tables for pool in table.pools} == {2}


def test_a_pool_that_fails_or_is_missing_is_told() -> None:
    """The others go on; a failure is a problem of the report, what is not installed is named in its row."""

    def run(job: PoolJob) -> PoolRun:
        if job.pool == "kombu":
            raise MissingClientError("kombu is not installed")
        if job.pool == "sqlalchemy" and job.action == "crowd":
            raise RunFailedError("it took longer than 60 s")
        return WAITED

    problems: list[str] = []
    tables = {table.key: table for table in measure_pools(1, 1, False, problems, lambda _: None, run)}
    assert problems == ["pool-crowd: SQLAlchemy QueuePool FAILED: it took longer than 60 s: it said nothing"]
    remarks = {row[0]: row[-1] for row in pool_rows(tables[CROWD.key])}
    assert remarks[SQLALCHEMY] == "1 of 1 runs FAILED"
    assert remarks["kombu Resource"] == "MISSING: kombu is not installed"


def test_rows_tell_waits_and_what_ours_is_beside_them(make_pool_table) -> None:  # type: ignore[no-untyped-def]
    """Below 1 ours waits less."""
    table = make_pool_table("pool-spike", {OURS: 20.0, PSYCOPG: 40.0, SQLALCHEMY: None})
    assert headings(table)[2:6] == ("p50", "p90", "p99", "longest")
    rows = pool_rows(table)
    assert rows[1][:6] == (PSYCOPG, "threads", "20.0 ms", "36.0 ms", "40.0 ms", "80.0 ms")
    assert [row[-2:] for row in rows] == [
        ("1.00", "opens somehow"),
        ("0.50", "opens somehow"),
        ("–", "MISSING: not installed"),
    ]


def test_pairs_are_told_in_nanoseconds(make_pool_table) -> None:  # type: ignore[no-untyped-def]
    """One acquire with its release."""
    (row,) = pool_rows(make_pool_table("pool-pairs", {OURS: 0.003}))
    assert row[2] == "3,000 ns"


def test_the_shortest_bar_is_on_top(make_pool_table) -> None:  # type: ignore[no-untyped-def]
    """What is missing has none."""
    bars = pool_bars_of(make_pool_table("pool-cold", {OURS: 20.0, PSYCOPG: 40.0, SQLALCHEMY: None}))
    assert [(name, round(one)) for name, one in bars] == [(PSYCOPG, 40), (OURS, 20)]


def test_pools_have_a_place_of_their_own_in_the_page(make_report, make_pool_table, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A run of the pools alone leaves the outbox' tables as they are."""
    page = tmp_path / "page.md"
    page.write_text(f"outbox\n{POOL_BEGIN}\nstale figures\n{POOL_END}\nafter\n")
    table = make_pool_table("pool-spike", {OURS: 20.0, PSYCOPG: 40.0})
    report: Report = dataclasses.replace(make_report(pool={}), scenarios=(), pools=(table,))
    assert write_figures(report, page)
    text = page.read_text()
    assert text.startswith(f"outbox\n{POOL_BEGIN}\n")
    assert text.endswith(f"{POOL_END}\nafter\n")
    assert "stale" not in text
    assert "Table pool-spike:" in pool_figures(report)
    assert "| P12 99th percentile of waiting, a spike, beside psycopg_pool | ≤ 1.00 × | 0.50 × | reached |" in text
