"""Values that stand for a histogram: in the same buckets, with the same sum."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.histogram import BOUNDS, Histogram, Times
from rmqpool.core.histogram_values import values_of


def of(values: list[float]) -> Times:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.times()


@given(st.lists(st.floats(0, 1000) | st.sampled_from(BOUNDS), max_size=60))
def test_the_values_are_in_the_same_buckets_and_have_the_same_sum(values: list[float]) -> None:
    """Whoever takes them one by one has the same histogram."""
    told = values_of(of(values), most=1000)
    counts = [0] * (len(BOUNDS) + 1)
    for value, number in told:
        counts[bisect_left(BOUNDS, value)] += number
    assert tuple(counts) == of(values).counts
    assert sum(value * number for value, number in told) == pytest.approx(sum(values))


@given(st.lists(st.integers(0, 10**7), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1))
def test_of_too_many_it_is_a_part(counts: list[int]) -> None:
    """The same part of each bucket, and something of each that has any."""
    times = Times(BOUNDS, tuple(counts), total=sum(counts) * 0.1, longest=400.0)
    told = [number for _, number in values_of(times, most=1000)]
    assert len(told) == sum(count > 0 for count in counts)
    assert sum(told) <= max(1000 + len(counts), 0)
    assert all(told)
