"""The promises of rmqpool.core.backoff."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, Retrying, wait_exponential, wait_random_exponential

from rmqpool.core.backoff import Backoff
from rmqpool.errors import ConfigurationError

attempts = st.integers(min_value=1, max_value=10**6)
draws = st.floats(min_value=0, max_value=1, exclude_max=True)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    initial = draw(st.floats(min_value=1e-6, max_value=1e6))
    maximum = draw(st.floats(min_value=initial, max_value=1e9))
    return Backoff(initial, maximum, draw(st.floats(min_value=1, max_value=100)))


def retry_state(attempt: int) -> RetryCallState:
    state = RetryCallState(Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    return state


def test_ceiling_doubles_until_the_maximum() -> None:
    """Attempts 1, 2, 3... may wait up to 0.5, 1, 2... seconds, and never longer than the maximum."""
    backoff = Backoff(initial=0.5, maximum=5)
    assert [backoff.ceiling(attempt) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]


def test_delay_is_the_given_share_of_the_ceiling() -> None:
    """The random number alone decides where between zero and the ceiling the delay lies."""
    backoff = Backoff(initial=1, maximum=60)
    assert [backoff.delay(3, share) for share in (0.0, 0.25, 0.5)] == [0, 1, 2]


def test_multiplier_of_one_keeps_the_ceiling() -> None:
    """With multiplier 1 every attempt waits up to the initial value."""
    backoff = Backoff(initial=2, maximum=60, multiplier=1)
    assert {backoff.ceiling(attempt) for attempt in (1, 2, 1000, 10**6)} == {2}


def test_a_million_attempts_do_not_overflow() -> None:
    """An outage of any length stays at the maximum, whatever the multiplier."""
    assert Backoff(0.1, 30).ceiling(10**6) == 30
    assert Backoff(0.1, 30, multiplier=1e300).ceiling(3) == 30
    assert Backoff(1e300, 1e308, multiplier=1e300).ceiling(2) == 1e308


@given(backoffs(), attempts, draws)
def test_delay_stays_within_zero_and_the_ceiling(backoff: Backoff, attempt: int, draw: float) -> None:
    """No delay is negative, above its ceiling, or above the maximum."""
    assert 0 <= backoff.delay(attempt, draw) <= backoff.ceiling(attempt) <= backoff.maximum


@given(backoffs(), attempts, attempts)
def test_ceiling_never_shrinks(backoff: Backoff, one: int, other: int) -> None:
    """A later attempt may wait at least as long as an earlier one."""
    assert backoff.ceiling(min(one, other)) <= backoff.ceiling(max(one, other))


@given(backoffs(), attempts, draws, draws)
def test_delay_grows_with_the_draw(backoff: Backoff, attempt: int, one: float, other: float) -> None:
    """A larger random number never gives a shorter delay: the draw's even spread is kept."""
    assert backoff.delay(attempt, min(one, other)) <= backoff.delay(attempt, max(one, other))


@given(backoffs(), attempts)
def test_ceiling_equals_tenacitys(backoff: Backoff, attempt: int) -> None:
    """The upper bound is that of tenacity's full jitter: both edges of the library wait alike."""
    tenacitys = wait_exponential(multiplier=backoff.initial, max=backoff.maximum, exp_base=backoff.multiplier)
    assert issubclass(wait_random_exponential, wait_exponential)  # which draws from zero to this very bound
    assert backoff.ceiling(attempt) == pytest.approx(tenacitys(retry_state(attempt)), rel=1e-9)


@given(backoffs(), attempts)
def test_tenacitys_draws_lie_within_our_bounds(backoff: Backoff, attempt: int) -> None:
    """What tenacity's full jitter draws is a delay that ours could have drawn too."""
    tenacitys = wait_random_exponential(multiplier=backoff.initial, max=backoff.maximum, exp_base=backoff.multiplier)
    assert 0 <= tenacitys(retry_state(attempt)) <= backoff.ceiling(attempt) * (1 + 1e-9)


@pytest.mark.parametrize("initial", [0, -1, math.nan, math.inf])
def test_initial_must_be_above_zero(initial: float) -> None:
    """A first ceiling of nothing would be a busy loop: refused."""
    with pytest.raises(ConfigurationError, match="initial"):
        Backoff(initial, 10)


@pytest.mark.parametrize("maximum", [0.5, -1, math.nan, math.inf])
def test_maximum_must_be_finite_and_not_below_initial(maximum: float) -> None:
    """A maximum that contradicts the initial value, or that is none, is refused."""
    with pytest.raises(ConfigurationError, match="maximum"):
        Backoff(1, maximum)


@pytest.mark.parametrize("multiplier", [0, 0.99, -2, math.nan, math.inf])
def test_multiplier_must_not_shrink_the_ceiling(multiplier: float) -> None:
    """A multiplier below 1 would wait less after each failure: refused."""
    with pytest.raises(ConfigurationError, match="multiplier"):
        Backoff(1, 10, multiplier)


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_are_counted_from_one(attempt: int) -> None:
    """Attempt 0 is a mistake of the caller, not a delay."""
    with pytest.raises(ValueError, match="counted from 1"):
        Backoff(1, 10).ceiling(attempt)


@pytest.mark.parametrize("draw", [-0.1, 1.0, math.nan])
def test_random_must_lie_below_one(draw: float) -> None:
    """A number outside [0, 1) is a mistake of the caller."""
    with pytest.raises(ValueError, match="random"):
        Backoff(1, 10).delay(1, draw)


def test_backoff_cannot_be_changed() -> None:
    """It is a value: threads may share it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Backoff(1, 10).initial = 2  # type: ignore[misc]
