"""The size of a pool, and the limits of the servers: against the formulas as the books have them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmqpool.core.sizing import (
    Agents,
    BrokerLimits,
    Demand,
    PostgresLimits,
    Sizing,
    deadlock_bound,
    fit_broker,
    fit_postgres,
    mean_wait,
    size_for,
    size_of,
    waiting_share,
)
from rmqpool.errors import ConfigurationError


def figure(sizing: Sizing, name: str) -> float:
    """The value of one figure."""
    return {one.name: one.value for one in sizing.figures}[name]


def by_the_book(size: int, busy: float) -> float:
    """Erlang C with its factorials."""
    last = busy**size / math.factorial(size) * size / (size - busy)
    return last / (sum(busy**number / math.factorial(number) for number in range(size)) + last)


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_the_share_that_waits_is_erlangs(size: int, load: float) -> None:
    """Computed without large numbers, and the same."""
    assert waiting_share(size, size * load) == pytest.approx(by_the_book(size, size * load), rel=1e-9)


@given(st.floats(0.001, 500), st.floats(0.0001, 0.9))
def test_the_size_for_a_rate_is_the_smallest_that_will_do(busy: float, waits: float) -> None:
    """One less, and more callers wait than were asked for, or they cannot keep up."""
    size = size_for(busy, waits)
    assert size > busy
    assert waiting_share(size, busy) <= waits
    assert size == 1 or waiting_share(size - 1, busy) > waits


@given(st.integers(1, 200), st.floats(0.01, 250), st.floats(0.001, 60))
def test_more_of_them_never_means_more_waiting(size: int, busy: float, hold: float) -> None:
    """Neither for the share nor for the time."""
    assert 0 <= waiting_share(size + 1, busy) <= waiting_share(size, busy) <= 1
    assert mean_wait(size + 1, busy, hold) <= mean_wait(size, busy, hold)
    assert mean_wait(size, busy, hold) < math.inf or busy >= size


def can_deadlock(size: int, threads: int, each: int) -> bool:
    """Taken apart: can all be given out so that each thread holds some, and needs one more?"""
    return threads * (each - 1) >= size


@given(st.integers(1, 100), st.integers(1, 20))
def test_the_deadlock_bound_is_tight(threads: int, each: int) -> None:
    """With so many one thread always gets its last one; with one less they can all be stuck."""
    bound = deadlock_bound(threads, each)
    assert not can_deadlock(bound, threads, each)
    assert bound == 1 or can_deadlock(bound - 1, threads, each)


DEMANDS = st.builds(
    lambda load, waits, threads, each: Demand(*load, waits, threads, each),
    st.tuples(st.floats(0.1, 1000), st.floats(0.0001, 1)),
    st.floats(0.001, 0.5),
    st.none() | st.integers(1, 200),
    st.integers(1, 8),
)


@settings(max_examples=50)
@given(DEMANDS)
def test_the_size_is_enough_and_not_more_than_is_ever_in_use(demand: Demand) -> None:
    """For the rate, against the deadlock, and within threads x each."""
    size = size_of(demand).size
    assert demand.busy is not None
    enough = size_for(demand.busy, demand.waits)
    if demand.threads is None:
        assert size == enough
    else:
        assert deadlock_bound(demand.threads, demand.each) <= size <= demand.threads * demand.each
        assert size >= min(enough, demand.threads * demand.each)
    assert figure(size_of(demand), "size") == size


def test_without_a_rate_nobody_has_to_wait() -> None:
    """Threads alone do not tell how often they ask: then there is one for each."""
    sizing = size_of(Demand(threads=8, each=2))
    assert sizing.size == 16
    assert figure(sizing, "no_deadlock") == 9


def test_threads_that_cannot_keep_up_with_the_rate_are_told() -> None:
    """40 a second for 2 s are 80 at once: 50 threads hold 50, whatever the pool."""
    sizing = size_of(Demand(40, 2, threads=50))
    assert sizing.size == 50
    assert "50 threads x 1 each hold at most 50 at once, and the rate needs 80 on average" in sizing.problems[0]
    assert not size_of(Demand(40, 2, threads=81)).problems
    fitted = fit_broker(sizing, BrokerLimits(channel_max=40), 1)
    assert len(fitted.problems) == 2


def test_an_example_by_hand() -> None:
    """100 a second for 50 ms: 5 in use on average; the book's table gives 1 % at 12 (0.59 %), not at 11 (1.5 %)."""
    sizing = size_of(Demand(100, 0.05))
    assert sizing.size == 12
    assert figure(sizing, "in_use") == 5
    reasons = {one.name: one.because for one in sizing.figures}
    assert reasons["in_use"] == "100/s x 0.05 s each, on average (Little's law)"
    assert reasons["for_the_rate"].startswith("0.59% of the callers wait then")


@given(
    st.integers(1, 5000), st.integers(1, 1000), st.integers(2, 3000), st.integers(0, 100_000), st.integers(0, 10_000)
)
def test_a_problem_is_told_exactly_when_the_broker_is_too_small(
    size: int, instances: int, channel_max: int, files: int, queues: int
) -> None:
    """One channel of each connection stays for declarations; files as the production checklist counts them."""
    fitted = fit_broker(Sizing(size, ()), BrokerLimits(channel_max, files, queues), instances)
    assert len(fitted.problems) == (size >= channel_max) + (6 * instances + queues > files)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 5000), st.integers(0, 50), st.integers(0, 5000))
def test_a_problem_is_told_exactly_when_postgres_is_too_small(
    size: int, instances: int, max_connections: int, reserved: int, others: int
) -> None:
    """Over all instances; the share that is told fits."""
    fitted = fit_postgres(Sizing(size, ()), PostgresLimits(max_connections, reserved, others), instances)
    free = max(0, max_connections - reserved - others)
    assert bool(fitted.problems) == (size * instances > free)
    share = int(figure(fitted, "share_of_an_instance"))
    assert share * instances <= free < (share + 1) * instances


def test_behind_agents_their_connections_count_and_not_the_instances() -> None:
    """(2 + 1 + 1) x 4 hosts, not 3 x 400 instances; files as well; 100 instances of a host have (2 + 1) channels each."""
    limits = BrokerLimits(channel_max=2047, files=1000, queues=10)
    fitted = fit_broker(Sizing(2, ()), limits, 400, Agents(hosts=4))
    assert (figure(fitted, "connections"), figure(fitted, "files")) == (16, 42)
    assert figure(fitted, "channels_of_an_agent") == 300
    assert not fitted.problems
    assert fit_broker(Sizing(2, ()), limits, 400).problems  # without agents


@pytest.mark.parametrize(("size", "fits"), [(7, 2047 // 8), (8, (2047 - 255) // 9)])
def test_a_problem_is_told_when_an_agent_has_too_few_channels(size: int, fits: int) -> None:
    """Who has eight channels gets none more of the last eighth."""
    limits = BrokerLimits(channel_max=2047)
    assert not fit_broker(Sizing(size, ()), limits, fits, Agents()).problems
    told = fit_broker(Sizing(size, ()), limits, fits + 1, Agents(publishing=9)).problems
    assert len(told) == 1
    assert "run fewer instances on a host" in told[0]


def test_a_limit_that_is_not_known_is_no_problem() -> None:
    """And no figure either."""
    fitted = fit_broker(Sizing(4, ()), BrokerLimits(2047), 3)
    assert not fitted.problems
    assert "files" not in {one.name for one in fitted.figures}


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        ({}, "nothing is known"),
        ({"rate": 5}, "belong together"),
        ({"hold": 5}, "belong together"),
        ({"rate": 0, "hold": 1}, "rate is 0"),
        ({"rate": math.inf, "hold": 1}, "rate is inf"),
        ({"rate": 1, "hold": math.nan}, "hold is nan"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 1, "each": 0}, "each is 0"),
        ({"threads": 1, "waits": 0}, "waits is 0"),
        ({"threads": 1, "waits": 1}, "waits is 1"),
        ({"rate": 1e6, "hold": 20}, "look at the units"),
    ],
)
def test_a_demand_that_cannot_be_is_refused(demand: dict[str, Any], words: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=words):
        Demand(**demand)
