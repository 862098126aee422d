"""Medians and ratios, pure. A ratio exists only where both sides were measured in the same run."""

from __future__ import annotations

import statistics

from benchmarks.report import EntryResult, Report, ScenarioResult

__all__ = [
    "compared",
    "find_result",
    "median_connections",
    "median_cpu",
    "median_peak",
    "median_rate",
    "ratio",
    "spread",
]


def median_rate(entry: EntryResult) -> float | None:
    """Messages a second; None without a sample."""
    return statistics.median(sample.rate for sample in entry.samples) if entry.samples else None


def spread(entry: EntryResult) -> float | None:
    """How far the rates lie apart: (highest - lowest) / median. None without a sample."""
    rates = [sample.rate for sample in entry.samples]
    return (max(rates) - min(rates)) / statistics.median(rates) if rates else None


def median_cpu(entry: EntryResult) -> float | None:
    """CPU seconds for a million messages; None without a sample."""
    return statistics.median(sample.cpu_per_million for sample in entry.samples) if entry.samples else None


def median_peak(entry: EntryResult) -> float | None:
    """Peak memory in bytes; None without a sample."""
    return statistics.median(sample.peak_bytes for sample in entry.samples) if entry.samples else None


def median_connections(entry: EntryResult) -> int | None:
    """Connections to the broker; None where they were not counted."""
    counted = [sample.connections for sample in entry.samples if sample.connections is not None]
    return statistics.median_high(counted) if counted else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """``ours / theirs``; None where one is missing."""
    return ours / theirs if ours is not None and theirs else None


def compared(scenario: ScenarioResult) -> list[tuple[EntryResult, float | None]]:
    """The entries in the order of the table, each with its ratio.

    Within a group the fastest comes first, those without a figure last, and the ratio is the first entry's rate to its
    own. Of growth the order stays, and the ratio is its own rate to the first one's.
    """
    first: dict[str, float | None] = {}
    for entry in scenario.entries:
        first.setdefault(entry.group, median_rate(entry))
    if scenario.growth:
        return [(entry, ratio(median_rate(entry), first[entry.group])) for entry in scenario.entries]
    groups = list(first)
    ordered = sorted(scenario.entries, key=lambda entry: (groups.index(entry.group), -(median_rate(entry) or 0)))
    return [(entry, ratio(first[entry.group], median_rate(entry))) for entry in ordered]


def find_result(report: Report, scenario: str, name: str) -> EntryResult | None:
    """The row of that table; None if it was not run."""
    found: ScenarioResult | None = next((one for one in report.scenarios if one.key == scenario), None)
    return next((entry for entry in found.entries if entry.name == name), None) if found else None
