"""A histogram of seconds with fixed buckets: what it takes to tell percentiles without keeping the values. Pure.

Buckets are those of Prometheus: each has an upper bound (values up to it, inclusive), the last one is endless. Adding a
value is a binary search and three additions. Not thread-safe: add and read under the lock of whoever owns it.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from dataclasses import dataclass

from rmqpool.errors import ConfigurationError

__all__ = ["BOUNDS", "Gathering", "Histogram", "Times", "at_once"]

BOUNDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
"""Upper bounds in seconds, from a hand-over between threads to a lease that was forgotten."""


@dataclass(frozen=True, slots=True)
class Times:
    """How often something took how long, in seconds. ``counts`` has one number a bucket: one more than ``bounds``.

    ``total`` is the sum of all values; ``longest`` is the largest value ever (of a difference: no value was larger).
    """

    bounds: tuple[float, ...] = BOUNDS
    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total: float = 0.0
    longest: float = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """The average in seconds; 0.0 without a value."""
        count = self.count
        return self.total / count if count else 0.0

    def quantile(self, part: float) -> float:
        """A time that ``part`` of the values (0.99: 99 %) did not exceed: the bound of their bucket, or ``longest``.

        0.0 without a value. Raises ValueError unless 0 <= part <= 1.
        """
        if not 0 <= part <= 1:
            raise ValueError(f"part is {part!r}; give a number from 0 to 1")
        wanted = max(1, math.ceil(part * self.count))
        seen = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            seen += count
            if seen >= wanted:
                return min(bound, self.longest)
        return 0.0

    def cumulative(self) -> tuple[tuple[float, int], ...]:
        """Each bound (the last is infinite), and how many values did not exceed it: as Prometheus writes it."""
        seen = 0
        rows = []
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            seen += count
            rows.append((bound, seen))
        return tuple(rows)

    def since(self, earlier: Times) -> Times:
        """What came after ``earlier``, an older value of the same histogram. Raises ValueError for other bounds."""
        self._check(earlier)
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        if not any(counts):
            return Times(self.bounds, counts)
        return Times(self.bounds, counts, max(0.0, self.total - earlier.total), self.longest)

    def plus(self, other: Times) -> Times:
        """Both together. Raises ValueError for other bounds."""
        self._check(other)
        counts = tuple(one + two for one, two in zip(self.counts, other.counts, strict=True))
        return Times(self.bounds, counts, self.total + other.total, max(self.longest, other.longest))

    def __str__(self) -> str:
        if not self.count:
            return "none"
        middle, late = self.quantile(0.5), self.quantile(0.99)
        return f"{self.count}, half within {middle:.4g} s, 99 % within {late:.4g} s, longest {self.longest:.4g} s"

    def _check(self, other: Times) -> None:
        if other.bounds != self.bounds:
            raise ValueError("these histograms have other bounds")


def at_once(count: int) -> Times:
    """So many that took no time."""
    return Times(BOUNDS, (count, *(0,) * len(BOUNDS)))


class Histogram:
    """Takes values one by one. ``bounds`` in seconds, growing. Raises ConfigurationError when they do not."""

    __slots__ = ("_bounds", "_counts", "_longest", "_total")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        if not bounds or any(one >= two for one, two in itertools.pairwise(bounds)):
            raise ConfigurationError(f"the bounds of a histogram are {bounds!r}; give one or more, each above the last")
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """One more value; below 0 counts as 0 (two clocks may have been compared)."""
        if seconds > 0.0:
            self._counts[bisect_left(self._bounds, seconds)] += 1
            self._total += seconds
            if seconds > self._longest:
                self._longest = seconds
        else:
            self._counts[0] += 1

    def times(self) -> Times:
        """The values so far."""
        return Times(self._bounds, tuple(self._counts), self._total, self._longest)


class Gathering(Histogram):
    """A histogram for values that come by the million: whoever appends to ``fresh`` calls :meth:`sort_in` now and then.

    To append costs a tenth of :meth:`add`. Values must not be below 0.
    """

    __slots__ = ("fresh",)

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        super().__init__(bounds)
        self.fresh: list[float] = []

    def sort_in(self) -> None:
        """Takes what is fresh into the buckets. The list stays the same object."""
        fresh, bounds, counts = self.fresh, self._bounds, self._counts
        if not fresh:
            return
        longest = max(fresh)
        if longest <= bounds[0]:  # as where it matters what this costs
            counts[0] += len(fresh)
        else:
            for seconds in fresh:
                counts[bisect_left(bounds, seconds)] += 1
        self._total += sum(fresh)
        self._longest = max(self._longest, longest)
        fresh.clear()

    def times(self) -> Times:
        self.sort_in()
        return super().times()
