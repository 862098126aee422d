"""benchmarks/figures.py: medians and ratios."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import (
    compared,
    find_result,
    median_connections,
    median_cpu,
    median_peak,
    median_rate,
    ratio,
    spread,
)
from benchmarks.report import EntryResult, Sample, ScenarioResult

rates = st.lists(st.floats(min_value=1, max_value=1e6), min_size=1, max_size=9)


def entry(samples: list[float], connections: int | None = 1) -> EntryResult:
    return EntryResult("one", samples=tuple(Sample(1000, 1000 / rate, 0.5, 2**20, connections) for rate in samples))


@given(rates)
def test_the_median_lies_between_the_slowest_and_the_fastest_run(values: list[float]) -> None:
    """Whatever was measured, the figure shown was nearly seen."""
    median = median_rate(entry(values))
    assert median is not None
    assert min(values) * 0.999 <= median <= max(values) * 1.001


@given(rates)
def test_the_spread_is_zero_only_where_all_runs_agree(values: list[float]) -> None:
    """Runs that differ are seen to differ."""
    apart = spread(entry(values))
    assert apart is not None
    assert (apart < 1e-6) == (max(values) - min(values) < 1e-6 * max(values)) or apart < 1e-5


def test_one_slow_run_does_not_move_the_median() -> None:
    """That is why there are three rounds."""
    assert median_rate(entry([100, 1, 102])) == pytest.approx(100)


def test_without_samples_there_is_no_figure() -> None:
    """A client that is missing has no rate, not a rate of zero."""
    nothing = EntryResult("one", missing="not installed")
    assert [figure(nothing) for figure in (median_rate, spread, median_cpu, median_peak, median_connections)] == [
        None
    ] * 5


def test_cpu_is_told_for_a_million_messages() -> None:
    """Half a second for 1,000 messages is 500 seconds for a million."""
    assert median_cpu(entry([100, 200, 300])) == pytest.approx(500)


def test_connections_that_were_not_counted_are_not_none_connections() -> None:
    """None stays None, and a count is a count."""
    assert median_connections(entry([1, 2], connections=None)) is None
    assert median_connections(entry([1, 2], connections=32)) == 32


def test_a_ratio_needs_both_sides() -> None:
    """A missing peer gives no ratio."""
    assert ratio(300.0, 100.0) == pytest.approx(3)
    assert ratio(None, 100.0) is None
    assert ratio(300.0, None) is None


def test_a_result_is_found_by_table_and_name(make_report) -> None:  # type: ignore[no-untyped-def]
    """Only the table of that key is looked into."""
    report = make_report(one={"kombu": 1.0}, many={"aiormq": 2.0})
    found = find_result(report, "one", "kombu")
    assert found is not None
    assert median_rate(found) == pytest.approx(1.0)
    assert find_result(report, "many", "kombu") is None
    assert find_result(report, "threads", "kombu") is None


def test_groups_keep_their_order_and_are_compared_within() -> None:
    """Sizes are not compared with each other: each group has its own first entry."""
    found = compared(
        scenario_of(("ours", "small", 100), ("peer", "small", 200), ("ours", "big", 10), ("peer", "big", 5))
    )
    assert [(one.name, one.group, round(times or 0, 2)) for one, times in found] == [
        ("peer", "small", 0.5),
        ("ours", "small", 1.0),
        ("ours", "big", 1.0),
        ("peer", "big", 2.0),
    ]


def test_growth_keeps_its_order_and_is_compared_with_its_beginning() -> None:
    """1,000 threads stand behind 32, whichever is faster."""
    table = scenario_of(("32", "", 100), ("1,000", "", 80), growth=True)
    assert [(one.name, times) for one, times in compared(table)] == [
        ("32", pytest.approx(1)),
        ("1,000", pytest.approx(0.8)),
    ]


def scenario_of(*rows: tuple[str, str, float], growth: bool = False) -> ScenarioResult:
    entries = (dataclasses.replace(entry([rate]), name=name, group=group) for name, group, rate in rows)
    return ScenarioResult("key", "title", 1, tuple(entries), growth)
