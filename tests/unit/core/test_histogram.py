"""The histogram: no value is lost, quantiles never tell too little, and a difference is what came in between."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.histogram import BOUNDS, Gathering, Histogram, Times, at_once
from rmqpool.errors import ConfigurationError

SECONDS = st.lists(st.floats(0, 1000), max_size=60)


def of(values: list[float]) -> Times:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.times()


@given(SECONDS)
def test_every_value_is_in_one_bucket(values: list[float]) -> None:
    """The buckets add up; so do the sum, the mean and the longest."""
    times = of(values)
    assert times.count == len(values)
    assert times.total == pytest.approx(sum(values))
    assert times.longest == max(values, default=0.0)
    assert times.mean == pytest.approx(sum(values) / len(values) if values else 0.0)
    for bound, count in times.cumulative():
        assert count == sum(value <= bound for value in values)
    assert times.cumulative()[-1] == (math.inf, len(values))


@given(SECONDS.filter(bool), st.floats(0, 1))
def test_a_quantile_is_never_too_short(values: list[float], part: float) -> None:
    """At least that part of the values is within it, and it is no longer than the bucket and the longest value."""
    told = of(values).quantile(part)
    assert sum(value <= told for value in values) >= part * len(values)
    exact = sorted(values)[max(1, math.ceil(part * len(values))) - 1]
    assert exact <= told <= min(max(values), next((bound for bound in BOUNDS if bound >= exact), math.inf))


@given(SECONDS, SECONDS)
def test_a_difference_is_what_came_in_between(before: list[float], after: list[float]) -> None:
    """And both parts together are the whole."""
    histogram = Histogram()
    for value in before:
        histogram.add(value)
    earlier = histogram.times()
    for value in after:
        histogram.add(value)
    later = histogram.times()
    between = later.since(earlier)
    assert between.counts == of(after).counts
    assert between.total == pytest.approx(sum(after), abs=1e-6)
    assert between.longest >= max(after, default=0.0)
    assert earlier.plus(of(after)).counts == later.counts


@given(st.lists(SECONDS))
def test_gathered_values_are_those_that_came_one_by_one(batches: list[list[float]]) -> None:
    """Whenever they are taken into the buckets."""
    histogram = Gathering()
    fresh = histogram.fresh
    for batch in batches:
        fresh.extend(batch)
        histogram.sort_in()
        assert histogram.fresh is fresh
        assert not fresh
    fresh.append(0.5)  # and what is not taken in yet is told too
    told, wanted = histogram.times(), of([*(value for batch in batches for value in batch), 0.5])
    assert (told.counts, told.longest) == (wanted.counts, wanted.longest)
    assert told.total == pytest.approx(wanted.total)


def test_what_took_no_time_counts() -> None:
    """Added to the others."""
    assert at_once(3).plus(of([2.0])).counts == of([0.0, 0.0, 0.0, 2.0]).counts


def test_without_a_value_all_is_zero() -> None:
    """No division, no invented time."""
    empty = Histogram().times()
    assert (empty.count, empty.mean, empty.quantile(0.99), str(empty)) == (0, 0.0, 0.0, "none")
    assert empty == Times()


def test_a_value_below_zero_counts_as_zero() -> None:
    """Clocks of two threads may differ by a hair."""
    assert of([-1.0]).cumulative()[0] == (BOUNDS[0], 1)
    assert of([-1.0]).total == 0.0


def test_a_text_tells_the_percentiles() -> None:
    """For logs and repr."""
    assert str(of([0.001] * 99 + [2.0])) == "100, half within 0.001 s, 99 % within 0.001 s, longest 2 s"


@pytest.mark.parametrize("bounds", [(), (1.0, 1.0), (2.0, 1.0)])
def test_bounds_grow(bounds: tuple[float, ...]) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ConfigurationError, match="bounds"):
        Histogram(bounds)


def test_histograms_with_other_bounds_do_not_mix() -> None:
    """Their buckets mean something else."""
    with pytest.raises(ValueError, match="other bounds"):
        Histogram((1.0, 2.0)).times().since(Times())
    with pytest.raises(ValueError, match="0 to 1"):
        Times().quantile(2)
