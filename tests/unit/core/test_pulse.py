"""The promises of rmqpool.core.pulse."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.pulse import Pulse

times = st.integers(0, 1000)


@given(st.lists(st.tuples(st.sampled_from("abc"), times, times), max_size=12), times)
def test_a_loop_hangs_when_its_last_beat_is_older_than_its_limit(beats: list[tuple[str, int, int]], now: int) -> None:
    """Each loop for itself; one that never began is not missed."""
    pulse = Pulse()
    last = {}
    for loop, when, limit in beats:
        pulse.beat(loop, when, limit)
        last[loop] = when + limit
    assert set(pulse.hanging(now)) == {loop for loop, due in last.items() if due < now}


def test_nothing_is_expected_of_a_loop_that_ended() -> None:
    """It may begin again."""
    pulse = Pulse()
    pulse.beat("a", 0, 1)
    pulse.end("a")
    pulse.end("b")
    assert pulse.hanging(100) == ()
    pulse.beat("a", 100, 1)
    assert pulse.hanging(102) == ("a",)
