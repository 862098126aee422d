"""A circuit breaker: opens when too much fails, lets one call through after a pause, and closes when that is answered."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rmqpool.core.backoff import Backoff
from rmqpool.core.breaker import Breaker, BreakerPolicy, BreakerState, Pass, Refusal
from rmqpool.errors import ConfigurationError

POLICY = BreakerPolicy(failure_rate=0.5, minimum=4, window=10, pause=Backoff(1, 8), jitter=0.5, patience=5)


def call(breaker: Breaker, now: float) -> Pass:
    """A call that is let through."""
    answer = breaker.ask(now)
    assert isinstance(answer, Pass)
    return answer


def opened(now: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(POLICY)
    for _ in range(POLICY.minimum):
        breaker.failed(call(breaker, now), now)
    assert breaker.state is BreakerState.OPEN
    return breaker


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_it_opens_exactly_when_the_policy_says_so(calls: list[tuple[float, bool]]) -> None:
    """By the rate over the window's slots, or by failures in a row: against a list of everything that happened."""
    breaker = Breaker(POLICY)
    slot = POLICY.window / 10
    ended: list[tuple[float, bool]] = []
    now = 100.0
    for pause, fails in calls:
        now += pause
        ended.append((now, fails))
        one = call(breaker, now)
        (breaker.failed if fails else breaker.succeeded)(one, now)
        recent = [failed for at, failed in ended if at // slot > now // slot - 10]
        in_a_row = len(ended) - max((number for number, (_, failed) in enumerate(ended, 1) if not failed), default=0)
        too_much = len(recent) >= POLICY.minimum and sum(recent) >= POLICY.failure_rate * len(recent)
        expected = fails and (too_much or in_a_row >= POLICY.minimum)
        assert (breaker.state is BreakerState.OPEN) == expected
        if expected:
            return


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_successes_alone_never_open_it(pauses: list[float]) -> None:
    """However many."""
    breaker = Breaker(POLICY)
    for now in pauses:
        breaker.succeeded(call(breaker, now), now)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.opened == 0


def test_slow_failures_open_it_too() -> None:
    """Calls that take longer than the window, so that it never holds enough of them, count as failures in a row."""
    breaker = Breaker(POLICY)
    for number in range(POLICY.minimum):
        breaker.failed(call(breaker, number * 60.0), number * 60.0)
    assert breaker.state is BreakerState.OPEN


@given(st.integers(1, 12), st.floats(0, 1, exclude_max=True))
def test_the_pause_grows_with_each_failed_probe_within_its_bounds(probes: int, random: float) -> None:
    """Doubled each time up to the longest, and shortened by chance by no more than the jitter."""
    breaker = opened()
    now = breaker.wait(0.0)
    for number in range(1, probes + 1):
        breaker.failed(call(breaker, now), now, random)
        ceiling = min(8.0, 2.0**number)
        assert ceiling * (1 - POLICY.jitter) <= breaker.wait(now) <= ceiling
        now += breaker.wait(now)
    assert breaker.opened == 1


def test_one_probe_at_a_time() -> None:
    """After the pause one call passes; all others are told how long its patience lasts."""
    breaker = opened()
    assert breaker.ask(0.5) == Refusal(0.5)
    probe = call(breaker, 1.0)
    assert probe.is_probe
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.ask(2.0) == Refusal(4.0)
    breaker.succeeded(probe, 3.0)
    assert breaker.state is BreakerState.CLOSED
    assert not call(breaker, 3.0).is_probe


def test_a_probe_that_says_nothing_makes_room_for_another_at_once() -> None:
    """It was a call that did not reach the dependency."""
    breaker = opened()
    breaker.said_nothing(call(breaker, 1.0), 1.5)
    assert breaker.state is BreakerState.HALF_OPEN
    assert call(breaker, 1.5).is_probe


def test_a_probe_that_never_ends_is_given_up() -> None:
    """After the patience there is another one, and the first one's outcome says nothing any more."""
    breaker = opened()
    lost = call(breaker, 1.0)
    assert isinstance(breaker.ask(5.9), Refusal)
    second = call(breaker, 6.0)
    breaker.succeeded(lost, 6.5)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.failed(lost, 6.5)
    breaker.said_nothing(lost, 6.5)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.succeeded(second, 7.0)
    assert breaker.state is BreakerState.CLOSED


def test_calls_from_before_say_nothing() -> None:
    """What began before it opened neither closes it, nor opens it again after it closed."""
    breaker = Breaker(POLICY)
    early = [call(breaker, 0.0) for _ in range(20)]
    for one in early[: POLICY.minimum]:
        breaker.failed(one, 0.0)
    breaker.succeeded(early[10], 0.5)
    assert breaker.state is BreakerState.OPEN
    breaker.succeeded(call(breaker, 1.0), 1.0)
    for one in early[11:]:
        breaker.failed(one, 1.5)
    assert breaker.state is BreakerState.CLOSED


class Life(RuleBasedStateMachine):
    """Anything may happen in any order: its laws hold."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(POLICY)
        self.now = 0.0
        self.running: list[Pass] = []
        self.probes = 0
        self.failures = 0
        self.paused = 0.0

    @rule(seconds=st.integers(0, 20))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.paused += seconds * (self.breaker.state is not BreakerState.CLOSED)

    @rule()
    def ask(self) -> None:
        wait = self.breaker.wait(self.now)
        answer = self.breaker.ask(self.now)
        if isinstance(answer, Refusal):
            assert answer.wait == wait > 0
            assert self.breaker.state is not BreakerState.CLOSED
        else:
            assert wait == 0
            assert answer.is_probe == (self.breaker.state is BreakerState.HALF_OPEN)
            self.running.append(answer)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "failed", "said_nothing"]))
    def end(self, data: Any, end: str) -> None:
        one = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        before = self.breaker.state
        getattr(self.breaker, end)(one, self.now)
        if self.breaker.state is not before:
            allowed = {
                "succeeded": (BreakerState.HALF_OPEN, BreakerState.CLOSED),
                "failed": (before, BreakerState.OPEN),
            }
            assert (before, self.breaker.state) == allowed[end]

    @invariant()
    def tells_how_long_it_was_not_closed(self) -> None:
        assert self.breaker.paused_seconds(self.now) == self.paused

    @invariant()
    def never_refuses_for_ever(self) -> None:
        longest = max(POLICY.pause.maximum, POLICY.patience)
        assert 0 <= self.breaker.wait(self.now) <= longest


TestLife = Life.TestCase


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"failure_rate": 0}, "failure_rate"),
        ({"failure_rate": 1.5}, "failure_rate"),
        ({"minimum": 0}, "minimum"),
        ({"minimum": True}, "minimum"),
        ({"window": 0}, "window"),
        ({"window": math.inf}, "window"),
        ({"patience": -1}, "patience"),
        ({"pause": 5}, "pause"),
        ({"jitter": 2}, "jitter"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=words):
        BreakerPolicy(**options)
