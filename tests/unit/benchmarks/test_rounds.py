"""benchmarks/rounds.py: the order in which clients take turns."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.entries import Entry, Scenario
from benchmarks.goals import GOALS, RatioOf
from benchmarks.job import Job
from benchmarks.measuring import PARTS, Plan
from benchmarks.rounds import left_behind, order_of
from benchmarks.scenarios import ONE


def scenario_of(size: int) -> Scenario:
    return Scenario("key", "title", "publish", tuple(Entry(str(index), "c", "a", 1) for index in range(size)))


@given(st.integers(min_value=1, max_value=20), st.integers(min_value=1, max_value=50))
def test_each_round_runs_every_entry_once(size: int, number: int) -> None:
    """No client has more runs than the others."""
    scenario = scenario_of(size)
    assert sorted(order_of(scenario, number), key=lambda entry: int(entry.name)) == list(scenario.entries)


@given(st.integers(min_value=1, max_value=20))
def test_each_entry_is_first_once_in_as_many_rounds(size: int) -> None:
    """Nobody always runs first, on a broker that has just rested."""
    scenario = scenario_of(size)
    first = [next(order_of(scenario, number)).name for number in range(1, size + 1)]
    assert len(set(first)) == size


def test_tables_without_a_goal_have_one_round() -> None:
    """Unless the number of rounds was given, or everything is wanted."""
    side = Scenario("key", "title", "publish", (), usual_rounds=1)
    assert Plan.of("usual", None, None, PARTS).rounds_of(side) == 1
    assert Plan.of("usual", None, None, PARTS).rounds_of(ONE) == 3
    assert Plan.of("usual", 4, None, PARTS).rounds_of(side) == 4
    assert Plan.of("full", None, None, PARTS).rounds_of(side) == 5


def test_quick_mode_runs_what_the_goals_compare_and_nothing_else() -> None:
    """Each goal has its figures, and no other client takes time."""
    plan = Plan.of("quick", None, None, PARTS)
    ran = {(scenario.key, entry.name) for scenario in plan.scenarios() for entry in scenario.entries}
    ratios = [goal.figure for goal in GOALS if isinstance(goal.figure, RatioOf)]
    assert ran == {(one.scenario, name) for one in ratios for name in (one.ours, one.theirs)}
    assert set(plan.parts) == {goal.part for goal in GOALS}


def test_a_publishing_run_must_leave_exactly_what_was_published() -> None:
    """Each thread's first message is in the queue too."""
    assert left_behind(Job("c", "a", "queue", 1000, threads=32), "publish") == (1032, 1032)


def test_a_consuming_run_may_leave_one_prefetch_and_no_more() -> None:
    """Acknowledgements that were on their way when the channel closed; never messages that nobody received."""
    assert left_behind(Job("c", "a", "queue", 1000, prefetch=500), "consume") == (0, 500)
