"""What is said once and counted after: nothing is forgotten, and nothing said twice in a while."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.repeats import Repeats

EVERY = 60.0
STEPS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from([0.0, 1.0, 59.0, 60.0, 500.0]), st.booleans()), max_size=60
)


@given(STEPS)
def test_everything_is_said_or_counted_once(steps: list[tuple[str, float, bool]]) -> None:
    """However subjects and times mix: said and counted together are all there were."""
    repeats: Repeats[str] = Repeats(EVERY, subjects=3)
    said: Counter[str] = Counter()
    counted: Counter[str | None] = Counter()
    last_said: dict[str, float] = {}
    now = 0.0
    for subject, seconds, looks in steps:
        now += seconds
        if looks:
            counted.update(dict(repeats.over(now)))
        if repeats.is_first(subject, now):
            assert now - last_said.get(subject, -EVERY) >= EVERY, "said twice in a while"
            last_said[subject] = now
            said[subject] += 1
        assert len(repeats) <= 4, "more subjects than were allowed, and what is above them"
    counted.update(dict(repeats.over(float("inf"))))
    assert said.total() + counted.total() == len(steps)
    assert len(repeats) == 0
    for subject in "abcde":
        assert said[subject] + counted[subject] <= sum(one == subject for one, _, _ in steps)


def test_the_first_is_said_and_the_rest_counted_until_its_time_has_passed() -> None:
    """Then the next one is said again."""
    repeats: Repeats[str] = Repeats(EVERY, subjects=10)
    assert [repeats.is_first("orders", now) for now in (0.0, 1.0, 59.0)] == [True, False, False]
    assert repeats.over(59.9) == []
    assert repeats.over(60.0) == [("orders", 2)]
    assert repeats.is_first("orders", 61.0)
    assert repeats.over(200.0) == []


def test_subjects_without_end_take_no_memory_without_end() -> None:
    """What cannot be told apart any more is counted together."""
    repeats: Repeats[int] = Repeats(EVERY, subjects=2)
    assert [repeats.is_first(number, 0.0) for number in range(1000)] == [True, True] + [False] * 998
    assert len(repeats) == 3
    assert repeats.over(60.0) == [(None, 998)]
