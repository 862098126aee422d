"""Keys that fail: when each is tried again, and when its first row is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.backoff import Backoff
from rmqpool.core.stalls import Stalls

BACKOFF = Backoff(1.0, 60.0)
DRAWS = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 6), st.lists(DRAWS, min_size=1, max_size=20), st.floats(0, 1e6))
def test_each_failure_waits_half_of_the_ceiling_at_least_and_the_last_gives_up(
    max_attempts: int, draws: list[float], now: float
) -> None:
    """The wait after attempt n lies between half of the ceiling and the ceiling; every max_attempts-th gives up."""
    stalls = Stalls(BACKOFF, max_attempts)
    for number, draw in enumerate(draws, start=1):
        stall, gives_up = stalls.failed("key:a", 3, now, draw)
        assert gives_up == (number % max_attempts == 0)
        if gives_up:
            assert (stall.attempts, stall.next_at) == (0, now)
        else:
            ceiling = BACKOFF.ceiling(stall.attempts)
            assert now + ceiling / 2 <= stall.next_at <= now + ceiling
        assert stall.attempts == number % max_attempts
        now = max(now, stall.next_at)


def test_a_key_is_due_at_its_time_and_only_while_none_of_its_rows_is_in_hand() -> None:
    """What is busy is neither due nor waited for: its rows' outcomes decide."""
    stalls = Stalls(BACKOFF, 10)
    first, _ = stalls.failed("key:a", 0, 100.0, 0.0)
    second, _ = stalls.failed("key:b", 0, 101.0, 0.0)
    assert stalls.next_due() == first.next_at == 100.5
    assert stalls.due(100.4) == []
    assert stalls.due(100.5) == [first]
    first.busy = 1
    assert stalls.due(200.0) == [second]
    assert stalls.next_due() == second.next_at
    second.busy = 1
    assert stalls.next_due() is None
    assert stalls.due(200.0) == []


def test_after_a_confirmation_the_rest_of_the_key_follows_at_once() -> None:
    """Attempts begin at 0 again, and many rows may leave at a time, until one fails."""
    stalls = Stalls(BACKOFF, 3)
    stall, _ = stalls.failed("key:a", 0, 0.0, 0.5)
    stalls.confirmed("key:a", 7.0)
    assert (stall.attempts, stall.flows, stall.next_at) == (0, True, 7.0)
    assert stalls.failed("key:a", 0, 8.0, 0.5) == (stall, False)
    assert (stall.attempts, stall.flows) == (1, False)
    stalls.confirmed("key:nobody", 7.0)
    assert list(stalls.names) == ["key:a"]


def test_the_table_tells_what_is_unknown_and_brings_an_idle_attempt_forward() -> None:
    """Somebody asked for another attempt right now: it happens; an attempt is never put off by what the table says."""
    stalls = Stalls(BACKOFF, 10)
    stalls.learn([("key:a", 5, 4, 30.0)], 100.0)
    stall = stalls.get("key:a")
    assert stall is not None
    assert (stall.lane, stall.attempts, stall.next_at, stall.busy, stall.flows) == (5, 4, 130.0, 0, False)
    stalls.learn([("key:a", 5, 0, 0.0)], 110.0)
    assert (stall.attempts, stall.next_at) == (0, 110.0)
    stalls.learn([("key:a", 5, 9, 50.0)], 110.0)
    assert (stall.attempts, stall.next_at) == (0, 110.0)
    stall.busy = 1
    stalls.learn([("key:a", 5, 9, 0.0)], 105.0)
    assert (stall.attempts, stall.next_at) == (0, 110.0)


def test_what_the_table_does_not_name_is_over_unless_it_is_still_to_be_written() -> None:
    """Somebody ended the stall, or it was ended twice: no key stalls for ever in memory alone."""
    stalls = Stalls(BACKOFF, 10)
    stalls.learn([(name, 0, 0, 0.0) for name in ("key:a", "key:b", "key:c")], 0.0)
    stalls.writing(["key:a", "key:nobody"])
    busy = stalls.get("key:b")
    assert busy is not None
    busy.busy = 1
    stalls.learn([], 1.0)
    assert list(stalls.names) == ["key:a", "key:b"]
    stalls.written(["key:a", "key:nobody"])
    stalls.learn([("key:b", 0, 0, 0.0)], 1.0)
    assert list(stalls.names) == ["key:b"]


def test_what_is_not_written_yet_outlives_the_loss_of_its_lane_and_what_the_table_says() -> None:
    """The attempts and the time that are known here are the newer ones, until their statement has run."""
    stalls = Stalls(BACKOFF, 10)
    stall, _ = stalls.failed("key:a", 0, 0.0, 0.0)
    stall.busy, stall.flows = 2, True
    stalls.writing(["key:a"])
    stalls.forget()
    assert stalls.get("key:a") is stall
    assert (stall.busy, stall.flows) == (0, False)
    stalls.learn([("key:a", 0, 7, 0.0)], 0.1)
    assert (stall.attempts, stall.next_at) == (1, 0.5)
    stalls.written(["key:a"])
    stalls.forget()
    assert len(stalls) == 0


def test_what_is_over_or_of_another_relays_lane_is_forgotten() -> None:
    """Lanes that are lost take their stalls with them; None loses all."""
    stalls = Stalls(BACKOFF, 10)
    stalls.learn([("key:a", 1, 0, 0.0), ("key:b", 2, 0, 0.0), ("key:c", 2, 0, 0.0), ("key:d", 3, 0, 0.0)], 0.0)
    stalls.over("key:a")
    stalls.over("key:a")
    stalls.forget({2})
    assert list(stalls.names) == ["key:d"]
    stalls.forget()
    assert len(stalls) == 0
    assert stalls.get("key:d") is None
