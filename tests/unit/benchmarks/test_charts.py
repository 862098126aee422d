"""benchmarks/charts.py: what is drawn, without drawing it."""

from benchmarks.charts import bars_of, points_of


def test_bars_are_sorted_with_the_fastest_last_which_is_on_top(make_scenario) -> None:  # type: ignore[no-untyped-def]
    """A client without a figure has no bar."""
    assert [label for label, _ in bars_of(make_scenario("one", {"a": 2.0, "b": 3.0, "c": None, "d": 1.0}))] == [
        "d",
        "a",
        "b",
    ]


def test_points_take_their_number_from_the_name(make_scenario) -> None:  # type: ignore[no-untyped-def]
    """Thousands are written with a comma, and are one number."""
    points = points_of(make_scenario("growth-threads", {"1 thread": 10.0, "1,000 threads": 20.0, "8 threads": None}))
    assert [(number, round(rate)) for number, rate in points] == [(1, 10), (1000, 20)]
