"""The ages of deliveries, and what they are due for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.overdue import ACT_AT, WARN_AT, Overdue, Stage, may_keep, pause_between_looks, stage

TIMEOUTS = st.floats(1, 1e6)
CHOICES = st.sampled_from(["park", "requeue", "leave"])


@pytest.mark.parametrize(
    ("age", "begun", "expected"),
    [
        (1439, True, Stage.FINE),
        (1441, True, Stage.WARN),
        (1441, False, Stage.WARN),
        (1711, True, Stage.PARK),
        (1711, False, Stage.GIVE_BACK),
    ],
)
def test_of_half_an_hour_it_warns_after_24_minutes_and_acts_after_28(age: float, begun: bool, expected: Stage) -> None:
    """80 % and 95 % of the broker's default."""
    assert stage(age, 1800, begun=begun, overdue="park") is expected


@given(TIMEOUTS, CHOICES)
def test_what_was_not_begun_is_never_parked(timeout: float, overdue: Overdue) -> None:
    """It did nothing wrong: it goes back."""
    assert stage(timeout, timeout, begun=False, overdue=overdue) is Stage.GIVE_BACK


@given(TIMEOUTS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_what_is_kept_is_not_old_when_its_wait_is_over(timeout: float, age: float, seconds: float) -> None:
    """Nothing is due for it then."""
    kept = may_keep(age, seconds, timeout)
    assert kept == (stage(age + seconds, timeout, begun=True, overdue="park") is Stage.FINE)


@given(TIMEOUTS, CHOICES)
def test_it_acts_as_configured_and_before_the_broker(timeout: float, overdue: Overdue) -> None:
    """The configuration's word is the stage's."""
    assert str(stage(timeout * ACT_AT, timeout, begun=True, overdue=overdue)) == overdue


@given(TIMEOUTS)
def test_several_looks_fall_between_the_warning_and_the_end(timeout: float) -> None:
    """So nothing is missed between two of them."""
    pause = pause_between_looks(timeout)
    assert pause <= timeout * (1 - ACT_AT) / 1.05 or pause == 0.05
    assert pause * 2 <= timeout * (ACT_AT - WARN_AT)
