"""What handlers raise to decide."""

import math

import pytest

from rmqpool import Reject, Retry
from rmqpool.errors import ConfigurationError, RmqpoolError


@pytest.mark.parametrize("verdict", [Retry, Reject])
def test_a_verdict_is_no_error_of_ours(verdict):
    """``except RmqpoolError`` around a publish does not swallow it."""
    assert not issubclass(verdict, RmqpoolError)


@pytest.mark.parametrize("delay", [-1, 604_801, math.nan, math.inf, "5", True])
def test_a_delay_that_cannot_be_kept_is_refused(delay):
    """No week-long waits, and no numbers that are none."""
    with pytest.raises(ConfigurationError, match="0 to 604800"):
        Retry(delay=delay)


@pytest.mark.parametrize("delay", [None, 0, 0.5, 60, 604_800])
def test_delays_up_to_a_week_are_taken(delay):
    """Seconds."""
    assert Retry(delay=delay).delay == delay


def test_a_reason_is_always_a_text():
    """It becomes a header."""
    assert Reject(42).reason == "42"  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [5, 0.5])
def test_a_delay_in_the_place_of_the_reason_is_refused(number):
    """It would be a reason that nobody reads, and no delay."""
    with pytest.raises(ConfigurationError, match=rf"write Retry\(delay={number}\)"):
        Retry(number)


def test_the_reason_of_a_retry_is_a_text_too():
    """An exception is often given."""
    assert Retry(ValueError("busy")).reason == "busy"  # type: ignore[arg-type]
