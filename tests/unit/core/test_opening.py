"""The promises of rmqpool.core.opening: a server that is away is asked by one at a time, and ever more rarely."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.backoff import Backoff
from rmqpool.core.opening import OpenPlan


def test_all_begin_while_opening_works() -> None:
    """Nothing is delayed without a reason."""
    plan = OpenPlan(Backoff(1, 8))
    plan.want(3)
    assert (plan.begin(0.0), plan.pending, plan.running) == (3, 0, 3)
    assert plan.wake_at() == math.inf


def test_after_a_failure_one_probes() -> None:
    """One at a time, after the backoff's delay; when it succeeds, all others begin."""
    plan = OpenPlan(Backoff(1, 8))
    plan.want(3)
    plan.begin(0.0)
    for _ in range(3):
        plan.failed(0.0, 10.0, 0.5)
    plan.want(3)
    assert plan.retry_at == 10.0 + 0.5 * 4
    assert plan.begin(11.0) == 0
    assert plan.wake_at() == 12.0
    assert plan.begin(12.0) == 1
    assert plan.begin(13.0) == 0
    assert plan.wake_at() == math.inf  # its end will say
    plan.succeeded()
    assert plan.begin(13.0) == 2


def test_surplus_is_dropped_before_it_begins() -> None:
    """What has begun is not dropped."""
    plan = OpenPlan(Backoff(1, 8))
    plan.want(1)
    plan.begin(0.0)
    plan.want(3)
    assert plan.withdraw(9) == 2
    assert plan.withdraw(9) == 0
    assert plan.running == 1


def test_reconnect_timeout_is_told_once_for_each_time() -> None:
    """From the beginning of the first failure on; a success begins anew."""
    plan = OpenPlan(Backoff(1, 8), reconnect_timeout=10)
    told = []
    for began in (0.0, 4.0, 9.0, 15.0, 18.0, 21.0):
        plan.running += 1
        told.append(plan.failed(began, began + 1, 0.0))
    assert told == [False, False, True, False, False, True]
    plan.running += 1
    plan.succeeded()
    plan.running += 1
    assert not plan.failed(50.0, 51.0, 0.0)


@given(st.lists(st.sampled_from(["ask", "begin", "fail", "succeed", "withdraw"]), max_size=60))
def test_opens_are_never_lost_nor_made_up(steps: list[str]) -> None:
    """Every open that was asked for is pending, running, dropped or ended; and there is always a next step."""
    plan = OpenPlan(Backoff(1, 8))
    asked = ended = dropped = 0
    now = 0.0
    for step in steps:
        now += 1.0
        if step == "ask":
            asked += 2
            plan.want(asked - ended - dropped)
        elif step == "begin":
            plan.begin(now)
        elif step == "withdraw":
            dropped += plan.withdraw(1)
        elif plan.running:
            ended += 1
            if step == "fail":
                plan.failed(now, now, 0.9)
            else:
                plan.succeeded()
        assert asked == plan.pending + plan.running + ended + dropped
        assert min(plan.pending, plan.running) >= 0
        assert not plan.pending or plan.running or plan.wake_at() < math.inf
    while plan.pending or plan.running:
        now += 9.0
        plan.begin(now)
        assert plan.running
        plan.succeeded()
