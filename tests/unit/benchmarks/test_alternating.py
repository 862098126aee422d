"""benchmarks/alternating.py: turns, and what becomes of a run that fails."""

from benchmarks.alternating import Turn, alternate
from benchmarks.children import MissingClientError, RunFailedError
from benchmarks.report import Sample

SAMPLE = Sample(messages=10, seconds=1.0, cpu_seconds=0.1, peak_bytes=1)


def turn(name: str, ran: list[str], error: Exception | None = None) -> Turn:
    def run() -> Sample:
        ran.append(name)
        if error is not None:
            raise error
        return SAMPLE

    return Turn(name, run, note="note", group="group")


def test_each_round_runs_every_turn_once_and_begins_with_another_one() -> None:
    """The rows keep their order, whatever the order of the runs."""
    ran: list[str] = []
    rows = alternate("key", [turn(name, ran) for name in "abc"], 3, lambda _: None)
    assert ran == [*"abc", *"bca", *"cab"]
    assert [(row.name, row.note, row.group, len(row.samples)) for row in rows] == [
        (name, "note", "group", 3) for name in "abc"
    ]


def test_a_run_that_fails_is_recorded_and_the_others_go_on() -> None:
    """Each failure counts, and each is told."""
    ran: list[str] = []
    told: list[str] = []
    rows = alternate("key", [turn("a", ran, RunFailedError("it hung")), turn("b", ran)], 2, told.append)
    assert rows[0].failed == ("it hung: it said nothing",) * 2
    assert rows[1].samples == (SAMPLE, SAMPLE)
    assert sum("FAILED" in line for line in told) == 2


def test_what_is_missing_is_asked_for_once() -> None:
    """It is named, and not tried again."""
    ran: list[str] = []
    (row,) = alternate("key", [turn("a", ran, MissingClientError("no compiler"))], 3, lambda _: None)
    assert (row.missing, ran) == ("no compiler", ["a"])
