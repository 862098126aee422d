"""A pool that sizes itself: within its bounds, without flapping, and almost as quick as one that is large all the time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.autoscale import Autoscale, Change, Scaler
from rmqpool.errors import ConfigurationError
from tests.unit.core.autoscale_simulation import CURVES, Run, simulate

POLICY = Autoscale(minimum=2, maximum=32, quiet=60)
FIXED = Autoscale(minimum=32, maximum=32)
SPIKE = {"spike": 5 * 400}  # callers who come while it grows
MOST_GROWTHS = math.ceil(math.log(POLICY.maximum / POLICY.minimum, 1.5))  # each is by half at least


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[Run, Run]]:
    """Each curve, with a pool that sizes itself and with one that is at the maximum all the time."""
    return {name: (simulate(curve, POLICY), simulate(curve, FIXED)) for name, curve in CURVES.items()}


NAMES = pytest.mark.parametrize("name", CURVES)
Runs = dict[str, tuple[Run, Run]]


@NAMES
def test_under_every_load_the_bounds_are_kept_and_everybody_is_served(runs: Runs, name: str) -> None:
    """As many callers as with the large pool, and never a size out of the bounds."""
    run, fixed = runs[name]
    expected = sum(rate * CURVES[name].step for rate in CURVES[name].rates)
    assert len(run.waits) == pytest.approx(expected, rel=0.05)
    assert len(fixed.waits) == pytest.approx(expected, rel=0.05)
    assert all(POLICY.minimum <= size <= POLICY.maximum for size in run.sizes)


@NAMES
def test_under_every_load_the_size_does_not_flap(runs: Runs, name: str) -> None:
    """It grows in a few steps, shrinks at most once in a quiet time, and grows after that only as far as it shrank."""
    run, _ = runs[name]
    assert run.most_changes_in(60) <= MOST_GROWTHS + 1
    assert all(later - earlier >= POLICY.quiet for earlier, later in itertools.pairwise(run.shrinks()))


@NAMES
def test_under_every_load_waits_are_bounded_against_a_fixed_size(runs: Runs, name: str) -> None:
    """Twenty more take three seconds to open, one after the other: nobody waits for longer than that, and few at all."""
    run, fixed = runs[name]
    assert max(run.waits) <= max(fixed.waits) + 3.0
    assert len(run.slow(0.2)) <= len(fixed.slow(0.2)) + 0.02 * len(run.waits) + SPIKE.get(name, 0)


def test_a_spike_is_felt_for_seconds_only(runs: Runs) -> None:
    """From twenty callers a second to four hundred at once: five seconds later all is as with the large pool."""
    run, _ = runs["spike"]
    begins = 90.0
    slow = run.slow(0.2)
    assert slow
    assert all(begins <= came <= begins + 5.0 for came in slow if came > 10.0)


@NAMES
def test_under_every_load_it_holds_less_than_a_fixed_size(runs: Runs, name: str) -> None:
    """Else there would be no use in it."""
    run, fixed = runs[name]
    assert run.resource_seconds <= 0.75 * fixed.resource_seconds


def test_a_load_that_swings_faster_than_the_quiet_time_changes_nothing_after_the_first_swings(runs: Runs) -> None:
    """The sawtooth: it grows, and stays."""
    run, _ = runs["sawtooth"]
    assert all(moment < 120 for moment, _, _ in run.changes)


def test_after_a_spike_it_is_small_again(runs: Runs) -> None:
    """Once the quiet time has passed."""
    run, _ = runs["spike"]
    assert max(run.sizes) >= 16
    assert run.sizes[-1] <= 8


def test_the_simulation_is_the_same_each_time() -> None:
    """No clock and no chance but its own."""
    first, second = (simulate(CURVES["spike"], POLICY, seed=5) for _ in range(2))
    assert (first.waits, first.changes) == (second.waits, second.changes)


LOOKS = st.lists(st.tuples(st.floats(0, 60), st.integers(0, 60), st.integers(0, 200), st.floats(0, 5)), max_size=80)


@given(LOOKS, st.integers(1, 10), st.integers(0, 60))
def test_whatever_happens_the_rules_are_kept(looks: list[tuple[float, int, int, float]], low: int, more: int) -> None:
    """Bounds; growth only under pressure, by half at least and to twice at most; shrinking only after a quiet time."""
    policy = Autoscale(minimum=low, maximum=low + more, quiet=30)
    scaler = Scaler(policy)
    now = 0.0
    last_busy = 0.0  # since when it could be smaller, at the earliest
    grew_at = -math.inf
    for pause, in_use, waiting, oldest in looks:
        now += pause
        before = scaler.size
        change = scaler.look(now, in_use, waiting, oldest)
        assert low <= scaler.size <= low + more
        pressed = waiting > 0 and oldest >= policy.patience
        if pressed or in_use + waiting >= before:
            last_busy = now
        if change is None:
            assert scaler.size == before
            continue
        assert change.size == scaler.size != before
        if change.size > before:
            assert pressed
            assert now - grew_at >= policy.settle
            assert change.size == policy.maximum or before * 1.5 <= change.size <= before * 2
            grew_at = now
        else:
            assert now - last_busy >= policy.quiet
            assert change.size >= min(policy.maximum, max(in_use + waiting, low))


def test_pressure_that_lasts_reaches_the_maximum() -> None:
    """In a few steps, one settle apart; then there is no more to say."""
    scaler = Scaler(POLICY)
    changes = [scaler.look(number / 4, scaler.size, 50, 0.5) for number in range(200)]
    sizes = [change.size for change in changes if change is not None]
    assert sizes == [4, 8, 16, 32]


def test_each_change_has_a_sentence() -> None:
    """That one can read in a log."""
    scaler = Scaler(Autoscale(minimum=4, maximum=10, quiet=60))
    assert scaler.look(0, 4, 3, 0.25) == Change(7, "3 callers wait, the longest for 0.25 s: from 4 to 7")
    assert scaler.look(0.25, 7, 9, 0.5) is None  # what was asked for is still being opened
    assert scaler.look(1, 7, 1, 0.5) == Change(
        10, "1 caller waits, the longest for 0.5 s: from 7 to 10, the most that is allowed"
    )
    assert scaler.look(2, 3, 0, 0) is None
    assert scaler.look(40, 5, 0, 0) is None
    assert scaler.look(62, 2, 0, 0) == Change(7, "for 60 s at most 5 of 10 were in use: from 10 to 7")
    assert repr(scaler) == "<Scaler 7 of 4 to 10, grew 2 times, shrank 1 times>"


def test_a_short_wait_is_no_pressure() -> None:
    """Whoever waits for less than the patience is served by what comes back."""
    scaler = Scaler(POLICY)
    assert [scaler.look(number / 4, 2, 5, 0.05) for number in range(1000)] == [None] * 1000


def test_what_somebody_else_sets_is_taken_within_the_bounds() -> None:
    """A resize by hand counts as the size from then on; out of the bounds it comes back."""
    scaler = Scaler(POLICY, size=4)
    scaler.resized(10)
    assert scaler.look(0, 10, 0, 0) is None
    assert scaler.size == 10
    scaler.resized(50)
    assert scaler.look(1, 40, 0, 0) == Change(32, "50 is out of the bounds: from 50 to 32")
    assert Scaler(POLICY, size=50).size == 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minimum": 0}, "minimum"),
        ({"maximum": True}, "maximum"),
        ({"minimum": 5, "maximum": 4}, "the maximum is the larger one"),
        ({"patience": -1}, "patience"),
        ({"quiet": math.inf}, "quiet"),
        ({"quiet": 1, "settle": 1}, "flaps"),
        ({"spare": 1.5}, "spare"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=words):
        Autoscale(**options)
