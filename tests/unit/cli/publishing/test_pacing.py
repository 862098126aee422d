"""The rate of publishing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.cli.publishing.pacing import Pacer


def test_without_a_rate_nothing_waits() -> None:
    """All at once."""
    pacer = Pacer(None)
    assert [pacer.delay(now) for now in (0.0, 0.0, 0.0)] == [0.0, 0.0, 0.0]


@given(st.floats(0.5, 10_000), st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_no_window_holds_more_than_the_rate_allows(rate: float, pauses: list[float]) -> None:
    """However slow the caller is in between: n messages take (n - 1) / rate seconds, less the burst made up for."""
    pacer, now, sent = Pacer(rate), 100.0, []
    for pause in pauses:
        now += pause
        now += pacer.delay(now)
        sent.append(now)
    for first in range(0, len(sent), 7):
        for last in range(first, len(sent), 11):
            assert sent[last] - sent[first] >= (last - first) / rate - 0.1 - 1e-6


def test_a_caller_in_time_gets_the_full_rate() -> None:
    """Ten a second: the eleventh message goes after one second."""
    pacer, now = Pacer(10), 5.0
    for _ in range(11):
        now += pacer.delay(now)
    assert abs(now - 6.0) < 1e-9
