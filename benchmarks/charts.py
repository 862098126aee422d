"""The report as pictures: a bar for each client, sorted, and lines for growth. matplotlib is loaded when one is drawn."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from benchmarks.figures import median_rate
from benchmarks.pool_figures import median_of
from benchmarks.pool_tables import judged_by
from benchmarks.report import PoolTable, Report, ScenarioResult

__all__ = ["bars_of", "draw_charts", "points_of", "pool_bars_of"]

OURS, THEIRS, INK, GRID = "#c2410c", "#94a3b8", "#1f2937", "#e5e7eb"
_BARS = {
    "one": "publish-one",
    "threads": "publish-threads",
    "many": "publish-many",
    "consume": "consume",
    "outbox": "outbox",
    "outbox-writers": "outbox-writers",
    "outbox-wake-up": "outbox-wake-up",
}
_LINES = {
    "growth": (
        ("growth-threads", "publishing threads, 2 connections"),
        ("growth-connections", "connections, 32 threads"),
        ("growth-window", "messages without a confirm"),
    ),
    "outbox-relays": (("outbox-relays", "relays of one outbox"),),
}
_DPI = 144


def draw_charts(report: Report, folder: Path) -> list[Path]:
    """Draw what the report has figures for; returns the files written."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    by_key = {scenario.key: scenario for scenario in report.scenarios}
    for key, name in _BARS.items():
        if key in by_key and bars_of(by_key[key]):
            written.append(_draw_bars(by_key[key], _subtitle(report), folder / f"benchmark-{name}.png"))
    for name, lines in _LINES.items():
        growing = [(by_key[key], label) for key, label in lines if key in by_key and points_of(by_key[key])]
        if growing:
            written.append(_draw_lines(growing, _subtitle(report), folder / f"benchmark-{name}.png"))
    drawable = (table for table in report.pools if pool_bars_of(table))
    written += (_draw_pools(table, report, folder / f"benchmark-{table.key}.png") for table in drawable)
    return written


def bars_of(scenario: ScenarioResult) -> list[tuple[str, float]]:
    """Label and median rate of each entry that has one, the slowest first: the fastest comes out on top."""
    rates = [(_label(entry.name, entry.note), median_rate(entry)) for entry in scenario.entries]
    return sorted(((label, rate) for label, rate in rates if rate is not None), key=lambda bar: bar[1])


def pool_bars_of(table: PoolTable) -> list[tuple[str, float]]:
    """Label and what the table is about, in milliseconds or nanoseconds, the longest first: the shortest is on top."""
    scale = 1.0 if table.key == "pool-pairs" else 1000.0
    found = ((pool.name, median_of(pool, judged_by(table))) for pool in table.pools)
    return sorted(((name, one * scale) for name, one in found if one is not None), key=lambda bar: -bar[1])


def points_of(scenario: ScenarioResult) -> list[tuple[int, float]]:
    """The number in each entry's name, and its median rate."""
    found = []
    for entry in scenario.entries:
        rate = median_rate(entry)
        if rate is not None:
            digits = "".join(character for character in entry.name if character.isdigit())
            found.append((int(digits), rate))
    return found


def _label(name: str, note: str) -> str:
    return f"{name} ({note})" if note and len(note) < 32 else name


def _subtitle(report: Report) -> str:
    machine = report.machine
    return (
        f"256-byte persistent messages, quorum queue, median; RabbitMQ {machine.rabbitmq} and client on "
        f"{machine.processors} processors"
    )


def _without_bar(scenario: ScenarioResult) -> str:
    names = [entry.name for entry in scenario.entries if median_rate(entry) is None]
    return f"\nno figure of {', '.join(names)}" if names else ""


def _draw_bars(scenario: ScenarioResult, subtitle: str, path: Path) -> Path:
    subtitle = f"messages a second; {subtitle}{_without_bar(scenario)}"
    return _draw(bars_of(scenario), "{:,.0f}", scenario.title, subtitle, path)


def _draw_pools(table: PoolTable, report: Report, path: Path) -> Path:
    about = "ns for acquire and release" if table.key == "pool-pairs" else "99th percentile of waiting, ms"
    names = ", ".join(pool.name for pool in table.pools if not pool.runs)
    missing = f"\nno figure of {names}" if names else ""
    subtitle = (
        f"{about}, median of {table.rounds} rounds; {report.machine.processors} processors; shorter is better{missing}"
    )
    return _draw(
        pool_bars_of(table), "{:,.0f}" if table.key == "pool-pairs" else "{:,.1f}", table.title, subtitle, path
    )


def _draw(bars: list[tuple[str, float]], form: str, title: str, subtitle: str, path: Path) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1.3 + 0.36 * len(bars)), layout="constrained")
    labels, rates = zip(*bars, strict=True)
    colours = [OURS if label.startswith("rmqpool") else THEIRS for label in labels]
    drawn = axes.barh(labels, rates, color=colours, height=0.72)
    axes.bar_label(drawn, labels=[form.format(rate) for rate in rates], padding=4, color=INK, fontsize=9)
    axes.set_xlim(0, max(rates) * 1.12)
    axes.xaxis.set_visible(False)
    _dress(figure, axes, textwrap.fill(title, 72), subtitle)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return _save(figure, path)


def _draw_lines(growing: list[tuple[ScenarioResult, str]], subtitle: str, path: Path) -> Path:
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(
        1, len(growing), figsize=(4 * len(growing), 3.4), layout="constrained", squeeze=False
    )
    for axes, (scenario, label) in zip(all_axes[0], growing, strict=True):
        points = points_of(scenario)
        numbers, rates = zip(*points, strict=True)
        axes.plot(range(len(points)), rates, color=OURS, marker="o", linewidth=2)
        axes.set_xticks(range(len(points)), [f"{number:,}" for number in numbers])
        axes.set_ylim(0, max(rates) * 1.15)
        axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:,.0f}")
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        axes.set_xlabel(label, color=INK)
        axes.tick_params(colors=INK, labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    all_axes[0][0].set_ylabel("messages a second", color=INK)
    subtitle = textwrap.fill(subtitle, 54 * len(growing))
    figure.suptitle(f"rmqpool, growing\n{subtitle}", fontsize=10, color=INK, x=0.01, ha="left")
    return _save(figure, path)


def _dress(figure: Any, axes: Any, title: str, subtitle: str) -> None:
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left", fontweight="bold")
    figure.text(0.01, 0.005, subtitle, fontsize=8.5, color=INK, ha="left", va="bottom")
    figure.get_layout_engine().set(rect=(0, 0.35 / figure.get_figheight(), 1, 1 - 0.35 / figure.get_figheight()))
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    # Without the version in its metadata the file changes only when the figures do.
    figure.savefig(path, dpi=_DPI, facecolor="white", metadata={"Software": None})
    pyplot.close(figure)
    return path
