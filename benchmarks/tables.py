"""The report as tables on a terminal: rows are pure, drawing is rich's."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from benchmarks.figures import compared, median_connections, median_cpu, median_peak, median_rate, spread
from benchmarks.goals import judge
from benchmarks.pool_tables import headings, pool_rows
from benchmarks.report import EntryResult, PoolTable, Report, ScenarioResult

__all__ = ["COLUMNS", "print_report", "rows"]

RATIO = "ours ÷ it"
COLUMNS = ("client", "msg/s", "spread", RATIO, "CPU s/1 M", "peak MB", "conn.", "remarks")
_NOTHING = "–"


def rows(scenario: ScenarioResult) -> list[tuple[str, ...]]:
    """A row for each entry, those that are missing included; texts in the order of COLUMNS."""
    return [_row(entry, its_ratio) for entry, its_ratio in compared(scenario)]


def print_report(report: Report, console: Console) -> None:
    """Every table, then the goals, then what failed."""
    machine = report.machine
    console.print(
        f"{machine.taken}, {report.mode} mode: {machine.processors} processors, {machine.system}, "
        f"Python {machine.python}, RabbitMQ {machine.rabbitmq}. Only ratios within one run count.",
        highlight=False,
    )
    for scenario in report.scenarios:
        console.print(_table(scenario))
    for pools in report.pools:
        console.print(_pool_table(pools))
    _print_rest(report, console)
    for verdict in judge(report):
        style = {None: "yellow", True: "green", False: "red"}[verdict.reached]
        console.print(str(verdict), style=style, highlight=False)
    for problem in report.problems:
        console.print(problem, style="red", highlight=False, markup=False)


def _table(scenario: ScenarioResult) -> Table:
    title = f"{scenario.title} (median of {scenario.rounds})"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in COLUMNS:
        text = column in ("client", "remarks")
        heading = "× first" if scenario.growth and column == RATIO else column
        table.add_column(heading, justify="left" if text else "right", no_wrap=column != "remarks")
    for row in rows(scenario):
        table.add_row(*row)
    return table


def _pool_table(pools: PoolTable) -> Table:
    table = Table(title=f"{pools.title} (median of {pools.rounds})", title_justify="left", title_style="bold")
    for column in headings(pools):
        text = column in ("pool", "for", "remarks")
        table.add_column(column, justify="left" if text else "right", no_wrap=column not in ("pool", "remarks"))
    for row in pool_rows(pools):
        table.add_row(*row)
    return table


def _row(entry: EntryResult, its_ratio: float | None) -> tuple[str, ...]:
    remarks = [entry.note] if entry.note else []
    if entry.missing:
        remarks.append(f"MISSING: {entry.missing}")
    if entry.failed:
        remarks.append(f"{len(entry.failed)} of {len(entry.failed) + len(entry.samples)} runs FAILED")
    peak, connections = median_peak(entry), median_connections(entry)
    return (
        entry.name,
        _number(median_rate(entry), "{:,.0f}"),
        _number(spread(entry), "{:.0%}"),
        _number(its_ratio, "{:.2f}"),
        _number(median_cpu(entry), "{:,.1f}"),
        _number(None if peak is None else peak / 1_000_000, "{:,.0f}"),
        _number(connections, "{}"),
        "; ".join(remarks),
    )


def _number(figure: float | None, form: str) -> str:
    return _NOTHING if figure is None else form.format(figure)


def _print_rest(report: Report, console: Console) -> None:
    if report.recovery:
        for what, seconds in (
            ("lived through", report.recovery.lived_through),
            ("fresh publish", report.recovery.fresh),
        ):
            told = ", ".join(f"{one:.2f}" for one in seconds)
            console.print(f"Broker restarted, {what}: first confirm after {told} s", highlight=False)
    if report.footprint:
        for startup in report.footprint.startups:
            milliseconds = statistics.median(startup.seconds) * 1000
            console.print(f"{startup.name}: {milliseconds:,.0f} ms (median of {len(startup.seconds)})", highlight=False)
        console.print(f"Idle worker: {report.footprint.idle_worker_bytes / 1_000_000:,.0f} MB", highlight=False)
    if report.outbox:
        for one in report.outbox.latencies:
            for since, p50, p99 in (("Insert", one.p50, one.p99), ("Commit", one.commit_p50, one.commit_p99)):
                if p50 is not None and p99 is not None:
                    told = f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms"
                    console.print(f"{since} to confirm at {one.rate:,} rows/s: {told}", highlight=False)
        for claim in report.outbox.claims:
            told = f"{claim.seconds * 1000:.2f} ms"
            console.print(f"Claim of 1,000 rows, {claim.rows:,} waiting: {told}", highlight=False)
