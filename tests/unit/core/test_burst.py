"""How long a channel stays open after what was settled on it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.burst import Burst


def test_few_methods_need_no_patience() -> None:
    """RabbitMQ sends up to 32 on at once."""
    burst = Burst()
    for _ in range(31):
        burst.wrote(1, 10.0)
    assert burst.patience(10.0, 1.0) == 0


def test_many_at_once_need_some() -> None:
    """From the last one on; longer where the broker is slow, but never for ever."""
    burst = Burst()
    burst.wrote(200, 10.0)
    assert burst.patience(10.0, 0.001) == 0.25
    assert burst.patience(10.125, 0.001) == 0.125
    assert burst.patience(10.0, 0.5) == 1.5
    assert burst.patience(10.0, 60.0) == 3.0
    assert burst.patience(10.5, 0.001) == 0


def test_many_in_a_long_time_need_none() -> None:
    """They were applied long ago."""
    burst = Burst()
    for number in range(100):
        burst.wrote(1, number / 2)
    assert burst.patience(50.0, 0.1) == 0


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 10)), max_size=30), st.floats(0, 100), st.floats(0, 100))
def test_the_patience_has_an_end(written: list[tuple[int, float]], later: float, answered_in: float) -> None:
    """Whatever was written when."""
    burst, now = Burst(), 0.0
    for count, pause in written:
        now += pause
        burst.wrote(count, now)
    patience = burst.patience(now + later, answered_in)
    assert 0 <= patience <= 3.0 + 1e-6
    if sum(count for count, _ in written) < 32:
        assert patience == 0
