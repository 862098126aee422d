"""benchmarks/pages.py: the outbox' figures in a page."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.cli import PAGE
from benchmarks.pages import BEGIN, END, check_page, outbox_figures, write_figures
from benchmarks.report import ClaimTime, Latency, OutboxCost, Report

COST = OutboxCost((0.01,), (100.0,), (Latency(300, 0.0015, 0.006, 0.001, 0.0055),), (ClaimTime(1000, 0.0042),), "15.8")


@pytest.fixture
def report(make_report) -> Report:  # type: ignore[no-untyped-def]
    """A run of the outbox alone."""
    made: Report = make_report(outbox={"rmqpool Relay": 30_000.0, "C librabbitmq": 40_000.0, "peer": None})
    return dataclasses.replace(made, outbox=COST)


def test_every_figure_has_a_row(report: Report) -> None:
    """Rates with what they are beside the first, both latencies, the claim, and each goal with its verdict."""
    figures = outbox_figures(report)
    for row in (
        "| C librabbitmq | 40,000 | 1.33 × |  |",
        "| peer | – | – | not installed |",
        "| from before the insert, 300 rows/s | 1.50 ms | 6.00 ms |",
        "| from after the commit, 300 rows/s | 1.00 ms | 5.50 ms |",
        "| 1,000 | 4.20 ms |",
        "| P8 median from insert to confirm | ≤ 2.00 ms | 1.50 ms | reached |",
        "| P8 99th percentile | ≤ 5.00 ms | 6.00 ms | **not reached** |",
        "| P9 claim with 1,000,000 waiting rows beside 1,000 | ≤ 1.50 × | – | no figure |",
    ):
        assert row in figures.splitlines()
    assert "Postgres 15.8" in figures


def test_only_what_is_between_the_marks_is_replaced(report: Report, tmp_path: Path) -> None:
    """The text around it stays, and a second writing changes nothing."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert write_figures(report, page)
    once = page.read_text()
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "old" not in once
    write_figures(report, page)
    assert page.read_text() == once


def test_without_figures_the_page_stays_as_it_is(make_report, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A run of other parts does not empty the tables."""
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\nold\n{END}\n")
    assert not write_figures(make_report(one={}), page)
    assert page.read_text() == f"{BEGIN}\nold\n{END}\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_its_place_is_refused(text: str, tmp_path: Path) -> None:
    """Nothing is written to a place that nobody marked."""
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page\.md has no place"):
        check_page(page)


def test_the_documentation_has_the_place() -> None:
    """A complete run finds where to write."""
    check_page(PAGE)
