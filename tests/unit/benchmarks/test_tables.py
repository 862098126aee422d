"""benchmarks/tables.py: the rows that are shown."""

import io

from rich.console import Console

from benchmarks.report import EntryResult, Sample, ScenarioResult
from benchmarks.tables import COLUMNS, print_report, rows


def test_rows_are_sorted_and_compared_with_the_first_entry(make_scenario) -> None:  # type: ignore[no-untyped-def]
    """The fastest is on top; the ratio says how often the first entry's rate is that of the row."""
    found = rows(make_scenario("one", {"rmqpool": 300.0, "slow": 100.0, "fast": 600.0}))
    assert [(row[0], row[1], row[3]) for row in found] == [
        ("fast", "600", "0.50"),
        ("rmqpool", "300", "1.00"),
        ("slow", "100", "3.00"),
    ]
    assert {len(row) for row in found} == {len(COLUMNS)}


def test_a_missing_client_has_a_row_that_says_why(make_scenario) -> None:  # type: ignore[no-untyped-def]
    """It is named, never left out."""
    missing = rows(make_scenario("one", {"rmqpool": 300.0, "peer": None}))[-1]
    assert missing[0] == "peer"
    assert missing[1] == "–"
    assert missing[-1] == "MISSING: not installed"


def test_runs_that_failed_are_counted_in_the_row() -> None:
    """A median of fewer runs than the others is seen to be one."""
    run = Sample(messages=1000, seconds=100.0, cpu_seconds=0.05, peak_bytes=30_000_000)
    entry = EntryResult("peer", note="uvloop", samples=(run,), failed=("it hung", "it hung again"))
    (row,) = rows(ScenarioResult("one", "Table", 3, (entry,)))
    assert row[-1] == "uvloop; 2 of 3 runs FAILED"


def test_everything_of_a_report_is_printed(make_report) -> None:  # type: ignore[no-untyped-def]
    """Tables, missing peers and verdicts appear in the output."""
    report = make_report(threads={"rmqpool publish": 200.0, "kombu": 100.0, "pika BlockingConnection": None})
    output = io.StringIO()
    print_report(report, Console(file=output, width=140))
    for expected in ("Table threads", "rmqpool publish", "MISSING: not installed", "P2", "NOT reached", "3.10.8"):
        assert expected in output.getvalue()
