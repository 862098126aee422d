"""The promises of rmqpool.core.rolling, held by a model of processes that get ready, hang, or die."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.core.rolling import Fresh, RollingReload, Step

PATIENCE = 10.0
fates = st.lists(st.sampled_from(["ready", "slow", "dead"]), min_size=1, max_size=8)


def reload(fates: list[str], turns_to_stop: int) -> tuple[RollingReload, list[str], Step, list[int]]:
    """Run one to its end; returns it, which process each place has, how it ended, and how many ran at each moment."""
    rolling = RollingReload(range(1, len(fates) + 1), PATIENCE)
    places = ["old"] * len(fates)
    fresh: str | None = None
    stopping = 0
    counts = []
    now = 0.0
    while True:
        now += 1.0
        stopping = max(0, stopping - 1)
        how = {None: None, "ready": Fresh.READY, "slow": Fresh.STARTING, "dead": Fresh.ENDED}[fresh]
        step = rolling.step(how, old_runs=stopping > 0, now=now)
        if step is Step.START:
            assert rolling.place is not None
            fresh = fates[rolling.place - 1]
        elif step is Step.STOP_OLD:
            assert rolling.place is not None
            places[rolling.place - 1] = "new"
            fresh = None
            stopping = turns_to_stop
        counts.append(len(places) + (fresh not in (None, "dead")) + (stopping > 0))
        if step in (Step.DONE, Step.GIVE_UP):
            return rolling, places, step, counts
        assert now < 10_000


@given(fates, st.integers(1, 5))
def test_the_places_before_the_first_that_fails_are_new_and_the_rest_stays(fates: list[str], turns: int) -> None:
    """It ends with all new, or gives up at the first new process that does not get ready."""
    rolling, places, end, _ = reload(fates, turns)
    good = next((number for number, fate in enumerate(fates) if fate != "ready"), len(fates))
    assert places == ["new"] * good + ["old"] * (len(fates) - good)
    assert rolling.renewed == good
    assert end is (Step.DONE if good == len(fates) else Step.GIVE_UP)
    assert rolling.place == (None if good == len(fates) else good + 1)


@given(fates, st.integers(1, 5))
def test_there_is_never_a_process_less_and_at_most_one_more(fates: list[str], turns: int) -> None:
    """One place at a time: the next begins when the old process is gone."""
    _, _, _, counts = reload(fates, turns)
    assert set(counts) <= {len(fates), len(fates) + 1}


def test_a_new_process_has_its_patience_from_its_own_start() -> None:
    """The second one is not given less because the first took long."""
    rolling = RollingReload([1, 2], PATIENCE)
    assert rolling.step(None, old_runs=False, now=0) is Step.START
    assert rolling.step(Fresh.STARTING, old_runs=False, now=9.9) is Step.WAIT
    assert rolling.step(Fresh.READY, old_runs=False, now=9.9) is Step.STOP_OLD
    assert rolling.step(None, old_runs=True, now=50) is Step.WAIT
    assert rolling.step(None, old_runs=False, now=60) is Step.START
    assert rolling.step(Fresh.STARTING, old_runs=False, now=69) is Step.WAIT
    assert rolling.step(Fresh.STARTING, old_runs=False, now=70) is Step.GIVE_UP
