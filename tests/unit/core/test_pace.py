"""How long a relay waits before it looks again: often while rows come, seldom after."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.pace import Pace

SHORTEST = st.floats(0.0005, 0.02)
LONGEST = st.floats(0.1, 5.0)
AWAKE = st.floats(0.0, 1.0)
EVENTS = st.lists(st.tuples(st.floats(0.0, 2.0), st.booleans()), max_size=40)


@given(SHORTEST, LONGEST, AWAKE, EVENTS)
def test_a_wait_is_never_outside_its_bounds(
    shortest: float, longest: float, awake_for: float, events: list[tuple[float, bool]]
) -> None:
    """Between the shortest and the longest wait always, and at most four times the shortest while it is awake."""
    pace = Pace(shortest, longest, awake_for)
    now = 1000.0
    for pause, found in events:
        now += pause
        if found:
            pace.found(now)
            assert pace.is_awake(now) == (awake_for > 0)
        wait = pace.next_wait(now)
        assert shortest <= wait <= longest
        assert wait <= shortest * 4 or not pace.is_awake(now)


@given(SHORTEST, LONGEST)
def test_waits_grow_up_to_the_longest_while_nothing_is_found(shortest: float, longest: float) -> None:
    """An idle relay asks less and less often, and soon no more often than it must."""
    pace = Pace(shortest, longest, 0.05)
    waits = [pace.next_wait(0.0) for _ in range(30)]
    assert all(earlier <= later for earlier, later in itertools.pairwise(waits))
    assert waits[-1] == longest


@given(SHORTEST, LONGEST, st.floats(0.01, 1.0))
def test_it_is_awake_after_rows_were_found_and_begins_with_the_shortest_wait(
    shortest: float, longest: float, awake_for: float
) -> None:
    """However long it was idle, the first wait after rows is the shortest; it falls asleep when its time is over."""
    pace = Pace(shortest, longest, awake_for)
    assert not pace.is_awake(0.0)
    for _ in range(10):
        pace.next_wait(0.0)
    pace.found(64.0)
    assert pace.is_awake(64.0)
    assert pace.next_wait(64.0) == shortest
    assert not pace.is_awake(64.0 + awake_for * 1.01)
    assert pace.next_wait(64.0 + awake_for * 1.01) >= min(longest, shortest * 5)


@given(SHORTEST, LONGEST, AWAKE, st.floats(0.0, 10.0))
def test_it_looks_at_once_again_only_when_told_so(
    shortest: float, longest: float, awake_for: float, now: float
) -> None:
    """After a look that found all there is, the next one is due when the wait is over, whatever wakes the relay."""
    pace = Pace(shortest, longest, awake_for)
    assert pace.due < now
    pace.looked(now)
    assert now + shortest <= pace.due <= now + longest
    pace.hurry()
    assert pace.due < now
