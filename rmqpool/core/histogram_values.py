"""Values that make a given histogram: for those who take values one by one only, as OpenTelemetry's instruments do. Pure."""

from __future__ import annotations

import math

from rmqpool.core.histogram import Times

__all__ = ["values_of"]


def values_of(times: Times, most: int) -> list[tuple[float, int]]:
    """Values in seconds, and how often each: as many in each bucket as ``times`` has, with the same sum.

    Of more than ``most`` values it is a part, the same of each bucket, at least one of each that has any. Where the sum of
    ``times`` cannot be (its buckets say otherwise), the nearest that can be.
    """
    count = times.count
    lows = (0.0, *times.bounds)
    highs = (*times.bounds, max(times.longest, times.bounds[-1]))
    least = sum(low * number for low, number in zip(lows, times.counts, strict=True))
    greatest = sum(high * number for high, number in zip(highs, times.counts, strict=True))
    part = min(1.0, max(0.0, (times.total - least) / (greatest - least))) if greatest > least else 1.0
    found = []
    for low, high, number in zip(lows, highs, times.counts, strict=True):
        if number > 0:
            value = low + part * (high - low)
            if low and value <= low:  # a bound belongs to the bucket below it
                value = math.nextafter(low, math.inf)
            found.append((min(value, high), number if count <= most else max(1, number * most // count)))
    return found
