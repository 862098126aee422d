"""The promises of rmqpool.core.respawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.backoff import Backoff
from rmqpool.core.respawn import AfterEnd, Respawn, after_end

draws = st.floats(min_value=0, max_value=1, exclude_max=True)
short_lives = st.floats(min_value=0, max_value=59.9)


@given(st.lists(st.tuples(short_lives, draws), min_size=1, max_size=50))
def test_a_crash_loop_slows_down(ends: list[tuple[float, float]]) -> None:
    """Each pause is at least half of its ceiling, and the ceilings grow to the maximum: never a loop without a pause."""
    respawn = Respawn()
    for number, (lived, random) in enumerate(ends, start=1):
        pause = respawn.pause(lived, random)
        ceiling = min(60.0, 2.0 ** (number - 1))
        assert ceiling / 2 <= pause <= ceiling


@given(st.lists(short_lives, max_size=20), st.floats(min_value=60, max_value=1e9), draws)
def test_a_long_life_resets_the_pauses(early: list[float], lived: float, random: float) -> None:
    """Whatever was before: it is replaced at once, and the next pause is a first one."""
    respawn = Respawn()
    for life in early:
        respawn.pause(life, 0.5)
    assert respawn.pause(lived, random) == 0
    assert respawn.pause(0.0, random) <= 1.0


def test_the_pauses_may_be_others() -> None:
    """For tests, and for who knows better."""
    respawn = Respawn(Backoff(0.1, 0.2), settled_after=1.0)
    assert [respawn.pause(0.0, 0.0) for _ in range(3)] == [0.05, 0.1, 0.1]
    assert respawn.pause(1.0, 0.5) == 0


@pytest.mark.parametrize(
    ("code", "refused", "was_ready", "burst", "reloads", "then"),
    [
        (0, False, True, False, False, AfterEnd.AGAIN),  # stopped from outside: the number is kept
        (-9, False, False, False, False, AfterEnd.AGAIN),
        (1, False, False, False, False, AfterEnd.AGAIN),
        (3, True, False, False, False, AfterEnd.END_ALL),  # no new process mends it
        (4, True, True, False, False, AfterEnd.AGAIN),  # it worked before: it may again
        (0, False, True, True, False, AfterEnd.OVER),
        (4, True, False, True, False, AfterEnd.OVER),
        (-11, False, True, True, False, AfterEnd.AGAIN),
        (3, True, False, False, True, AfterEnd.AWAIT_CHANGE),
        (-9, False, True, False, True, AfterEnd.AGAIN),
    ],
)
def test_what_follows_an_end(
    code: int, refused: bool, was_ready: bool, burst: bool, reloads: bool, then: AfterEnd
) -> None:
    """By how it ended and what was asked for."""
    assert after_end(code, refused=refused, was_ready=was_ready, burst=burst, reloads=reloads) is then


@given(st.integers(-64, 255), st.booleans(), st.booleans())
def test_a_supervisor_that_was_ready_once_never_gives_up(code: int, refused: bool, reloads: bool) -> None:
    """Without a burst, every end is followed by another process: now, or when a file changes."""
    then = after_end(code, refused=refused, was_ready=True, burst=False, reloads=reloads)
    assert then in (AfterEnd.AGAIN, AfterEnd.AWAIT_CHANGE)
