"""Retry policies: how often, after how long, and in which queues a message waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rmqpool.core.backoff import Backoff
from rmqpool.core.retry import LONGEST_HELD, RetryPolicy
from rmqpool.errors import ConfigurationError

DELAYS = st.floats(0, 7200, allow_nan=False)
POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 12),
    backoff=st.one_of(
        st.lists(DELAYS, min_size=1, max_size=8).map(tuple),
        DELAYS,
        st.builds(Backoff, st.floats(0.01, 5), st.floats(5, 3600), st.floats(1.5, 4)),
    ),
    jitter=st.floats(0, 1),
    hold=st.floats(0, 60),
)


class Unavailable(Exception):
    """A dependency is away."""


class Hopeless(Unavailable):
    """And will not come back."""


@given(POLICIES, st.integers(1, 20))
def test_it_ends_after_so_many_attempts(policy: RetryPolicy, attempt: int) -> None:
    """The last one is never followed by another."""
    delay = policy.delay(attempt, 0.0)
    assert (delay is None) == (attempt >= policy.max_attempts)


@given(POLICIES, DELAYS, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_the_hops_of_a_delay_add_up_to_it(policy: RetryPolicy, delay: float, may_hold: bool, random: float) -> None:
    """Within 10 % or 250 ms (jitter only shortens what is held), or one step where nothing shorter may be used."""
    assume(delay > 0)
    waited, left, hops = 0.0, delay, 0
    shortest = 0.0
    while left > 0:
        hop = policy.hop(left, may_hold=may_hold, random=random)
        assert hop.left < left
        assert hop.held <= LONGEST_HELD
        assert not hop.step or hop.step in policy.steps
        waited += hop.step + hop.held
        shortest += hop.step + (hop.held / (1 - policy.jitter * random) if policy.jitter * random < 1 else 0)
        left, hops = hop.left, hops + 1
    late_by = 0.0 if may_hold or not policy.steps else policy.steps[0]
    assert waited <= delay + max(0.1 * delay, 0.25, late_by)
    if policy.jitter * random < 1:
        assert shortest >= delay - max(0.1 * delay, 0.25)


@given(POLICIES)
def test_each_delay_of_the_policy_that_is_not_held_has_a_queue(policy: RetryPolicy) -> None:
    """Two waits at most: one in a queue, and what is no whole second."""
    for attempt in range(1, policy.max_attempts):
        delay = policy.delay_after(attempt)
        hop = policy.hop(delay, may_hold=True, random=0.0)
        if delay > policy.hold and delay >= 1:
            assert hop.step
            assert hop.left < 1


def test_the_default_waits_shortly_here_and_longer_in_queues() -> None:
    """1 s in the worker; 2, 4, 8 s in queues."""
    policy = RetryPolicy()
    assert policy.steps == (2, 4, 8)
    assert [policy.delay(attempt, 0.0) for attempt in range(1, 6)] == [1, 2, 4, 8, None]
    assert policy.hop(1.0, may_hold=True, random=0.0).held == 1.0
    assert policy.hop(1.0, may_hold=False, random=0.0).step == 2
    assert policy.hop(8.0, may_hold=True, random=0.0).step == 8
    assert policy.hop(14.0, may_hold=True, random=0.0) == policy.hop(14.0, may_hold=False, random=0.9)


def test_what_the_handler_asks_for_wins_over_the_backoff() -> None:
    """But not over the number of attempts, nor over the time."""
    policy = RetryPolicy(max_attempts=3, backoff=(1, 2), give_up_after=100)
    assert policy.delay(1, 0.0, asked=50.0) == 50.0
    assert policy.delay(1, 60.0, asked=50.0) is None
    assert policy.delay(3, 0.0, asked=0.0) is None


def test_only_what_may_help_is_tried_again() -> None:
    """By class; give_up_on wins; or by a function."""
    policy = RetryPolicy(on=Unavailable, give_up_on=Hopeless)
    assert policy.wants(Unavailable())
    assert not policy.wants(Hopeless())
    assert not policy.wants(ValueError())
    assert RetryPolicy().wants(ValueError())
    assert not RetryPolicy().wants(SystemExit())
    assert RetryPolicy(on=lambda error: "later" in str(error)).wants(ValueError("later"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"backoff": ()}, "backoff"),
        ({"backoff": "5"}, "backoff"),
        ({"backoff": (1, -1)}, "backoff"),
        ({"backoff": 1e9}, "backoff"),
        ({"backoff": Backoff(1, 1e9)}, "backoff"),
        ({"jitter": 2}, "jitter"),
        ({"hold": 61}, "hold"),
        ({"give_up_after": float("nan")}, "give_up_after"),
        ({"on": "ValueError"}, "on is"),
        ({"give_up_on": lambda error: True}, "give_up_on"),
        ({"max_attempts": 100, "backoff": tuple(range(1, 90))}, "queues"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], words: str) -> None:
    """By name, when it is written down."""
    with pytest.raises(ConfigurationError, match=words):
        RetryPolicy(**options)
