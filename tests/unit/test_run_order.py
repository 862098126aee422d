"""How the tests are dealt to the processes that run them."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st
from run_order import dealt

Files = list[tuple[float, list[tuple[int, int]]]]


@st.composite
def files(draw: st.DrawFn) -> Files:
    """Files with a weight and a few tests each; a test is (file, number)."""
    shapes = draw(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=15))
    return [(float(weight), [(at, number) for number in range(count)]) for at, (weight, count) in enumerate(shapes)]


@given(files(), st.integers(2, 5))
def test_each_test_runs_once_and_heavy_files_stay_whole(made: Files, processes: int) -> None:
    """Nothing is left out or doubled, and the tests of a file with a weight stay together, in their order."""
    order = dealt(made, processes)
    assert sorted(order) == sorted(test for _, tests in made for test in tests)
    runs = [list(run) for _, run in groupby(order, key=lambda test: test[0])]
    for weight, tests in made:
        if weight:
            assert tests in runs


def test_each_part_begins_with_its_heaviest_file_and_ends_with_light_tests() -> None:
    """Three processes, three slow files, and light tests to fill up with: equal parts, each with one slow file first."""
    made: Files = [(0.0, [(0, n) for n in range(21)])]
    made += [(float(weight), [(weight, n) for n in range(weight)]) for weight in (1, 2, 6)]
    order = dealt(made, 3)
    parts = [order[:10], order[10:20], order[20:]]
    assert [part[0][0] for part in parts] == [6, 2, 1]
    assert all(part[-1][0] == 0 for part in parts)
