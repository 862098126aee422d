"""benchmarks/goals.py: what is asked, what is seen, and what is told about it."""

import dataclasses

import pytest

from benchmarks.entries import find_entry
from benchmarks.goals import GOALS, Goal, RatioOf, Verdict, judge
from benchmarks.measuring import PARTS, SCENARIOS
from benchmarks.pool_figures import PoolRatio
from benchmarks.pool_plan import POOL_SCENARIOS
from benchmarks.report import ClaimTime, Footprint, Latency, OutboxCost, Recovery, Startup


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.what)
def test_every_goal_is_about_something_that_is_measured(goal: Goal) -> None:
    """A goal names a part of the run, and a ratio two rows of its table."""
    assert goal.part in PARTS
    if isinstance(goal.figure, RatioOf):
        for name in (goal.figure.ours, goal.figure.theirs):
            assert find_entry(SCENARIOS, goal.figure.scenario, name).name == name
    if isinstance(goal.figure, PoolRatio):
        (table,) = (one for one in POOL_SCENARIOS if one.key == goal.figure.table)
        assert {goal.figure.ours, goal.figure.theirs} <= {entry.name for entry in table.entries}


def test_all_goals_are_there() -> None:
    """P1 to P12, every one."""
    assert {goal.key for goal in GOALS} == {f"P{number}" for number in range(1, 13)}


@pytest.mark.parametrize(
    ("at_least", "seen", "reached"),
    [(True, 1.1, True), (True, 1.0, True), (True, 0.99, False), (False, 0.9, True), (False, 1.01, False)],
)
def test_the_limit_itself_reaches_a_goal(at_least: bool, seen: float, reached: bool) -> None:
    """At least and at most both include the figure asked for."""
    goal = Goal("P0", "one", "something", 1.0, lambda report: seen, at_least=at_least)
    assert Verdict(goal, seen).reached is reached


def test_a_goal_that_is_not_reached_is_told_with_its_figure(make_report) -> None:  # type: ignore[no-untyped-def]
    """The sentence has what was asked, what was seen, and that it was not reached."""
    report = make_report(threads={"rmqpool publish": 200.0, "kombu": 100.0})
    told = [str(verdict) for verdict in judge(report)]
    assert told == ["P2 publish from 32 threads beside kombu: asked ≥ 3.00 ×, seen 2.00 ×: NOT reached"]


def test_a_missing_peer_gives_no_figure_and_no_verdict(make_report) -> None:  # type: ignore[no-untyped-def]
    """What could not be compared is neither reached nor failed."""
    (verdict,) = judge(make_report(threads={"rmqpool publish": 200.0, "kombu": None}))
    assert verdict.reached is None
    assert str(verdict).endswith("asked ≥ 3.00 ×: no figure of kombu")


def test_only_goals_of_the_parts_that_ran_are_judged(make_report) -> None:  # type: ignore[no-untyped-def]
    """A run of one table does not speak about the others."""
    assert {verdict.goal.part for verdict in judge(make_report(one={"rmqpool publish": 1.0}))} == {"one"}


def test_recovery_is_judged_by_its_slowest_restart(make_report) -> None:  # type: ignore[no-untyped-def]
    """One restart that took too long is enough."""
    report = dataclasses.replace(
        make_report(recovery={}), scenarios=(), recovery=Recovery(5.0, (0.2, 5.6, 0.3), (0.1, 0.2, 0.9))
    )
    assert [verdict.reached for verdict in judge(report)] == [False, True, True]


def test_the_footprint_is_judged_by_medians(make_report) -> None:  # type: ignore[no-untyped-def]
    """Start-up times in milliseconds, memory in megabytes, imports as a ratio."""
    startups = (
        Startup("from rmqpool import Publisher, Worker", (0.12, 0.9, 0.12)),
        Startup("import pika", (0.1, 0.1, 0.1)),
        Startup("rmqpool --help", (0.29, 0.31, 0.29)),
    )
    report = dataclasses.replace(
        make_report(footprint={}), scenarios=(), footprint=Footprint(startups, idle_worker_bytes=61_000_000)
    )
    assert [verdict.reached for verdict in judge(report)] == [True, True, False]


def test_connections_that_threads_add_are_counted(make_report) -> None:  # type: ignore[no-untyped-def]
    """The same number of connections under 32 and 1,000 threads is none more."""
    verdicts = judge(make_report(**{"growth-threads": {"32 threads": 100.0, "1,000 threads": 79.0}}))
    assert [(verdict.seen, verdict.reached) for verdict in verdicts] == [(pytest.approx(0.79), False), (0, True)]


def test_the_outbox_is_judged_by_its_own_figures(make_report) -> None:  # type: ignore[no-untyped-def]
    """Rate and ratio come from the table, cost from medians, latency from 300 rows/s, claims from both ends."""
    cost = OutboxCost(
        statements=(0.01, 0.5, 0.02),
        wal_bytes=(100.0, 130.0, 140.0),
        latencies=(Latency(300, 0.0019, 0.006), Latency(1000, 1.0, 1.0)),
        claims=(ClaimTime(1000, 0.010), ClaimTime(100_000, 1.0), ClaimTime(1_000_000, 0.014)),
    )
    report = dataclasses.replace(
        make_report(outbox={"rmqpool Relay": 21_000.0, "C librabbitmq": 43_000.0}), outbox=cost
    )
    verdicts = judge(report)
    assert [verdict.goal.key for verdict in verdicts] == ["P7", "P7", "P7", "P7", "P8", "P8", "P9"]
    assert [verdict.reached for verdict in verdicts] == [True, False, True, False, True, False, True]


def test_an_outbox_that_was_not_measured_gives_no_verdict(make_report) -> None:  # type: ignore[no-untyped-def]
    """A part that failed has no figures, and nothing is said to be reached."""
    assert {verdict.reached for verdict in judge(make_report(outbox={}))} == {None}


def test_pools_are_judged_by_times_where_less_is_better(make_report, make_pool_table) -> None:  # type: ignore[no-untyped-def]
    """The same 99th percentile reaches the goal, a longer one does not; a peer that is missing is named."""
    names = ("rmqpool ResourcePool", "psycopg_pool ConnectionPool", "SQLAlchemy QueuePool")
    tables = (
        make_pool_table("pool-spike", dict(zip(names, (20.0, 20.0, 10.0), strict=True))),
        make_pool_table("pool-pairs", dict(zip(names, (20.0, 40.0, None), strict=True))),
    )
    verdicts = {str(one.goal.what): one for one in judge(dataclasses.replace(make_report(pool={}), pools=tables))}
    assert verdicts["99th percentile of waiting, a spike, beside psycopg_pool"].reached is True
    assert verdicts["99th percentile of waiting, a spike, beside SQLAlchemy"].reached is False
    assert verdicts["acquire and release, beside psycopg_pool"].seen == pytest.approx(0.5)
    assert verdicts["acquire and release, beside SQLAlchemy"].lacking == ("SQLAlchemy QueuePool",)
