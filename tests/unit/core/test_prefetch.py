"""The adaptive prefetch: its bounds, its hysteresis, and what it does with handlers of all kinds."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.prefetch import PREFETCH_MAX, AdaptivePrefetch, PrefetchPlan
from rmqpool.errors import ConfigurationError

TICK = 0.1
OPTIONS = st.builds(
    lambda one, other, ahead: AdaptivePrefetch(min(one, other), max(one, other), ahead),
    st.integers(1, PREFETCH_MAX),
    st.integers(1, PREFETCH_MAX),
    st.floats(0.01, 60),
)


class Consumer:
    """A queue that is never empty, and handlers that all take the same time, advanced tick by tick."""

    def __init__(self, plan: PrefetchPlan, round_trip: float = 0.002) -> None:
        self.plan = plan
        self.round_trip = round_trip
        self.now = 0.0
        self.settled = 0.0
        self.changes: list[tuple[float, int]] = []

    def run(self, seconds: float, handler: float, *, load: float = math.inf) -> None:
        """``load``: messages a second that come in."""
        plan = self.plan
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            rate = min(plan.concurrency / handler, plan.current / (handler + self.round_trip), load)
            self.settled += rate * TICK
            in_progress = min(plan.concurrency, round(rate * handler))
            waiting = plan.current - in_progress if load > rate else 0
            changed = plan.look(
                self.now,
                settled=int(self.settled),
                in_progress=in_progress,
                waiting=waiting,
                outstanding=in_progress + waiting,
            )
            if changed is not None:
                self.changes.append((self.now, changed))


@given(OPTIONS, st.integers(1, 500), st.floats(0, 1e6), st.integers(0, 3000))
def test_it_stays_within_its_bounds_and_the_quorum_limit(
    options: AdaptivePrefetch, concurrency: int, seconds: float, held: int
) -> None:
    """Whatever the handlers do; and every handler has a message, unless the maximum forbids it."""
    for prefetch in (options.wanted(concurrency, seconds, held), options.start(concurrency)):
        assert min(options.minimum, options.maximum) <= prefetch <= min(options.maximum, PREFETCH_MAX)
        assert prefetch >= min(concurrency, options.maximum)


@given(OPTIONS, st.integers(1, 500), st.floats(1e-6, 1e4))
def test_no_more_than_the_asked_for_seconds_of_work_wait(
    options: AdaptivePrefetch, concurrency: int, seconds: float
) -> None:
    """Beyond what runs, and beyond the minimum that was asked for."""
    waiting = options.wanted(concurrency, seconds) - max(concurrency, options.minimum)
    assert waiting <= 0 or waiting * seconds / concurrency <= options.ahead * (1 + 1e-9)


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 64), st.integers(0, 2000)), min_size=1, max_size=200),
)
def test_changes_are_rare_and_worth_it(concurrency: int, looks: list[tuple[int, int, int]]) -> None:
    """At most one in three seconds, and each by a factor of 1.5, whatever is seen."""
    plan = PrefetchPlan(AdaptivePrefetch(), concurrency)
    settled, changed_at, before = 0, -math.inf, plan.current
    for number, (ended, running, waiting) in enumerate(looks):
        now = number * TICK
        settled += ended
        changed = plan.look(
            now,
            settled=settled,
            in_progress=min(running, concurrency),
            waiting=waiting,
            outstanding=waiting + min(running, concurrency),
        )
        if changed is not None:
            assert now - changed_at >= 3.0
            assert changed >= before * 1.5 or changed * 1.5 <= before
            assert 1 <= changed <= PREFETCH_MAX
            changed_at, before = now, changed
    assert plan.current == before


def test_fast_handlers_get_many_and_slow_ones_few() -> None:
    """A millisecond each: the quorum limit. A minute each: what runs, and hardly anything that waits."""
    fast = Consumer(PrefetchPlan(AdaptivePrefetch(), 8))
    fast.run(20, 0.001)
    assert fast.plan.current == PREFETCH_MAX
    slow = Consumer(PrefetchPlan(AdaptivePrefetch(), 8))
    slow.run(300, 60.0)
    assert slow.plan.current < 8 * 1.5


@pytest.mark.parametrize(("handler", "expected"), [(0.05, 168), (0.2, 48), (1.0, 16)])
def test_it_settles_near_a_second_of_work_and_stays_there(handler: float, expected: int) -> None:
    """What runs and a second's worth that waits; a few changes, then none."""
    consumer = Consumer(PrefetchPlan(AdaptivePrefetch(), 8))
    consumer.run(60, handler)
    assert expected / 1.5 <= consumer.plan.current <= expected * 1.1
    assert len(consumer.changes) <= 3
    seen = len(consumer.changes)
    consumer.run(600, handler)
    assert len(consumer.changes) == seen


def test_it_follows_a_change_within_seconds() -> None:
    """Fast handlers that become slow (a dependency is down) stop hoarding; when they recover it grows again."""
    consumer = Consumer(PrefetchPlan(AdaptivePrefetch(), 8))
    consumer.run(20, 0.005)
    assert consumer.plan.current > 1000
    consumer.run(10, 5.0)
    assert consumer.plan.current < 30
    consumer.run(20, 0.005)
    assert consumer.plan.current > 1000


def test_handlers_that_all_hang_stop_the_hoarding() -> None:
    """Nothing ends, so nothing could be measured: that they run without end is measure enough."""
    consumer = Consumer(PrefetchPlan(AdaptivePrefetch(), 4))
    consumer.run(20, 0.002)
    consumer.run(20, 1e9)
    assert consumer.plan.current < 4 * 1.5


def test_a_message_now_and_then_is_no_reason_to_hoard() -> None:
    """One of a tenth of a second every ten seconds, hardly ever seen at work: it is not taken for an instant one."""
    consumer = Consumer(PrefetchPlan(AdaptivePrefetch(), 8))
    consumer.run(300, 0.1, load=0.1)
    assert consumer.plan.current < 88 * 1.5


def test_a_slow_network_is_hidden() -> None:
    """Handlers of a tenth of a millisecond and a round trip of 20 ms: the handlers get what keeps them busy."""
    consumer = Consumer(PrefetchPlan(AdaptivePrefetch(), 8), round_trip=0.02)
    consumer.run(30, 0.0001)
    assert consumer.plan.current >= 8 / 0.0001 * 0.02


def test_an_idle_hour_changes_nothing() -> None:
    """Nor does a process that was suspended, when it goes on."""
    consumer = Consumer(PrefetchPlan(AdaptivePrefetch(), 8))
    consumer.run(20, 0.1)
    before = list(consumer.changes)
    consumer.run(3600, 0.1, load=1e-9)
    consumer.run(20, 0.1)
    consumer.now += 600
    consumer.run(20, 0.1)
    assert consumer.changes == before


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("handler", "load"), [(0.05, 80.0), (0.05, 8.0), (0.001, 10.0), (0.2, 20.0), (5.0, 0.5)])
def test_chance_changes_little(handler: float, load: float, seed: int) -> None:
    """Messages that come at random, and looks that find few handlers at work: a handful of changes in ten minutes."""
    random = Random(seed)
    plan = PrefetchPlan(AdaptivePrefetch(), 8)
    settled = changes = 0
    for number in range(6000):
        settled += poisson(random, load * TICK)
        at_work = min(8, poisson(random, load * handler))
        changed = plan.look(number * TICK, settled=settled, in_progress=at_work, waiting=0, outstanding=at_work)
        changes += changed is not None
    assert changes <= 12
    ideal = plan.options.wanted(8, handler)
    assert ideal / 3 <= plan.current <= ideal * 2


def poisson(random: Random, mean: float) -> int:
    """How many of them, by Knuth's method."""
    count, product, end = 0, random.random(), math.exp(-mean)
    while product > end:
        count += 1
        product *= random.random()
    return count


def test_messages_that_are_held_back_take_no_handlers_place() -> None:
    """What waits for its retry is out too: it comes on top."""
    options = AdaptivePrefetch()
    assert options.wanted(8, 60.0, held=16) == 24


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"minimum": 0}, "minimum is 0"),
        ({"maximum": 2001}, "maximum is 2001"),
        ({"minimum": True}, "minimum is True"),
        ({"minimum": 20, "maximum": 10}, "the smaller one first"),
        ({"ahead": 0}, "ahead is 0"),
        ({"ahead": math.inf}, "ahead is inf"),
        ({"ahead": "1"}, "ahead is '1'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(values: dict[str, object], told: str) -> None:
    """At once, with what to write instead."""
    with pytest.raises(ConfigurationError, match=told):
        AdaptivePrefetch(**values)  # type: ignore[arg-type]
