"""The command line of the benchmarks. ``make bench``, or ``make bench ARGS="--only many --rounds 5"``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from benchmarks.charts import draw_charts
from benchmarks.measuring import PARTS, Mode, Plan, measure
from benchmarks.pages import check_page, write_figures
from benchmarks.report import Report
from benchmarks.tables import print_report

__all__ = ["app"]

HERE = Path(__file__).parent
LATEST = HERE / "results" / "latest.json"
IMAGES = HERE.parent / "docs" / "images"
PAGE = HERE.parent / "docs" / "explanation" / "performance.md"
_WIDTH = 120  # characters, where there is no terminal that has a width
app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="what the goals compare, the outbox in short; five minutes")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="5 rounds of 4 times as many messages; half an hour")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds of each table, instead of 3 (full: 5)")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"parts to run, repeatable: {', '.join(PARTS)}")] = None,
    factor: Annotated[int | None, typer.Option(min=1, help="messages, as a multiple of the usual number")] = None,
    json: Annotated[Path | None, typer.Option(dir_okay=False, help="write the figures there")] = None,
    images: Annotated[Path | None, typer.Option(file_okay=False, help="draw the charts into this folder")] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="write the tables of outbox and pools into this page, between its marks"
        ),
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="measure nothing: show the figures of a file")
    ] = None,
) -> None:
    """rmqpool beside other clients, alternating on a private broker, and whether the goals are reached.

    Without a mode: every client and every table, twelve minutes. A run of everything writes benchmarks/results/latest.json,
    docs/images and the tables of docs/explanation/performance.md; a run of some parts only what --json, --images and
    --page ask for. Exit code 1: a run failed (a goal that
    is not reached is told, and is no failure).
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    if quick and full:
        raise typer.BadParameter("--quick and --full are two modes: choose one")
    unknown = sorted(set(only or ()) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: known are {', '.join(PARTS)}", param_hint="--only")
    for path in (json and json.parent, images):
        if path is not None:
            _make_folder(path)  # before anything is measured
    if page is not None:
        _check_page(page)
    if replay is not None:
        if only or quick or full:
            raise typer.BadParameter("--replay shows the figures of a file as they are: leave the other options out")
        report = _read(replay)
    else:
        mode: Mode = "full" if full else "quick" if quick else "usual"
        plan = Plan.of(mode, rounds, factor, tuple(only or PARTS))
        if not plan.parts:
            raise typer.BadParameter(f"--quick has nothing of {', '.join(only or ())}: no goal is about it")
        report = measure(plan, lambda line: _tell(console, line))
        if not only and not quick:
            json, images, page = json or LATEST, images or IMAGES, page or PAGE
    print_report(report, console)
    if json is not None:
        report.write(json)
    if images is not None:
        for path in draw_charts(report, images):
            console.print(f"drawn: {path.name}", highlight=False)
    if page is not None:
        written = "written" if write_figures(report, page) else "nothing about outbox or pools to write"
        console.print(f"{written}: {page.name}", highlight=False)
    raise typer.Exit(1 if report.problems else 0)


def _check_page(page: Path) -> None:
    try:
        check_page(page)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--page") from error


def _read(path: Path) -> Report:
    try:
        return Report.read(path)
    except ValidationError as error:
        raise typer.BadParameter(f"{path.name} holds no figures of a run") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written to: {error.strerror}") from error


def _tell(console: Console, line: str) -> None:
    console.print(line, style="dim", highlight=False, markup=False)
