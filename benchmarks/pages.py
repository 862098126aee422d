"""The figures of outbox and pools as tables of a page. What stands between two marks is replaced, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.figures import compared, median_rate, ratio
from benchmarks.goals import judge
from benchmarks.pool_tables import headings, pool_rows
from benchmarks.report import OutboxCost, Report, ScenarioResult

__all__ = ["BEGIN", "END", "POOL_BEGIN", "POOL_END", "check_page", "outbox_figures", "pool_figures", "write_figures"]

BEGIN = "<!-- outbox figures: written by benchmarks/pages.py -->"
END = "<!-- end of outbox figures -->"
POOL_BEGIN = "<!-- pool figures: written by benchmarks/pages.py -->"
POOL_END = "<!-- end of pool figures -->"
_TABLES = ("outbox", "outbox-relays", "outbox-writers", "outbox-wake-up")
_PARTS = frozenset(("outbox",))
_POOL_PEERS = ("psycopg-pool", "sqlalchemy", "kombu", "aio-pika", "uvloop")


def outbox_figures(report: Report) -> str:
    """The tables in Markdown; "" if the outbox was not measured. Pure."""
    if report.outbox is None:
        return ""
    machine, cost = report.machine, report.outbox
    postgres = f", Postgres {cost.postgres}" if cost.postgres else ""
    parts = [
        f"One run, in {report.mode} mode, {machine.taken[:10]}: {machine.processors} processors, "
        f"RabbitMQ {machine.rabbitmq}{postgres}, 256-byte messages."
    ]
    goals = [verdict for verdict in judge(report) if verdict.goal.part in _PARTS]
    parts.append(_table(("goal", "asked", "seen", " "), (_goal_row(str(verdict)) for verdict in goals)))
    parts += [_rates(scenario) for scenario in report.scenarios if scenario.key in _TABLES]
    parts += _costs(cost)
    return "\n\n".join(parts)


def pool_figures(report: Report) -> str:
    """The tables of the resource pools in Markdown; "" if they were not measured. Pure."""
    if not report.pools:
        return ""
    machine = report.machine
    peers = ", ".join(f"{name} {machine.versions.get(name, 'missing')}" for name in _POOL_PEERS)
    parts = [
        f"One run, in {report.mode} mode, {machine.taken[:10]}: {machine.processors} processors, Python {machine.python}, "
        f"{peers}. Medians of {report.pools[0].rounds} rounds."
    ]
    goals = [verdict for verdict in judge(report) if verdict.goal.part == "pool"]
    parts.append(_table(("goal", "asked", "seen", " "), (_goal_row(str(verdict)) for verdict in goals)))
    parts += [f"{table.title}:\n\n{_table(headings(table), pool_rows(table))}" for table in report.pools]
    return "\n\n".join(parts)


def check_page(page: Path) -> None:
    """ValueError if the page has not all marks, once each."""
    text = page.read_text(encoding="utf-8")
    for begin, end, _ in _SECTIONS:
        _around(text, begin, end, page.name)


def write_figures(report: Report, page: Path) -> bool:
    """Put the tables between the page's marks; False if there is nothing to write. ValueError without the marks."""
    text = page.read_text(encoding="utf-8")
    written = False
    for begin, end, figures_of in _SECTIONS:
        figures = figures_of(report)
        if figures:
            before, after = _around(text, begin, end, page.name)
            text = f"{before}{begin}\n\n{figures}\n\n{end}{after}"
            written = True
    if written:
        page.write_text(text, encoding="utf-8")
    return written


_SECTIONS = ((BEGIN, END, outbox_figures), (POOL_BEGIN, POOL_END, pool_figures))


def _around(text: str, begin: str, end: str, name: str) -> tuple[str, str]:
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found or text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{name} has no place for the figures: it needs {begin} and {end}, once each")
    return before, after


def _goal_row(verdict: str) -> tuple[str, str, str, str]:
    what, _, rest = verdict.partition(": asked ")
    asked, found, rest = rest.partition(", seen ")
    seen, _, reached = rest.rpartition(": ")
    if not found:
        asked, _, reached = asked.partition(": ")
    return what, asked, seen or "–", reached.replace("NOT reached", "**not reached**")


def _rates(scenario: ScenarioResult) -> str:
    by = "× first" if scenario.growth else "beside the first"
    first: dict[str, float | None] = {}
    for entry in scenario.entries:
        first.setdefault(entry.group, median_rate(entry))
    rows = []
    for entry, _ in compared(scenario):
        rate = median_rate(entry)
        share = ratio(rate, first[entry.group])
        note = "; ".join(
            filter(None, (entry.note, entry.missing, f"{len(entry.failed)} failed" if entry.failed else ""))
        )
        rows.append((entry.name, _text(rate, "{:,.0f}"), _text(share, "{:.2f} ×"), note))
    return f"{scenario.title}:\n\n{_table((' ', 'rows/s', by, 'remarks'), rows)}"


def _costs(cost: OutboxCost) -> Iterable[str]:
    if cost.latencies:
        rows = [
            (f"{since}, {one.rate:,} rows/s", _milliseconds(p50), _milliseconds(p99))
            for one in cost.latencies
            for since, p50, p99 in (
                ("from before the insert", one.p50, one.p99),
                ("from after the commit", one.commit_p50, one.commit_p99),
            )
        ]
        yield f"To the broker's confirm:\n\n{_table((' ', 'p50', 'p99'), rows)}"
    if cost.claims:
        claims = [(f"{one.rows:,}", _milliseconds(one.seconds)) for one in cost.claims]
        yield f"Reading 1,000 rows:\n\n{_table(('rows that wait', 'median'), claims)}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(figure: float | None, form: str) -> str:
    return "–" if figure is None else form.format(figure)


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.2f} ms"
