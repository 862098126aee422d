"""What the audience sees: rates while it runs, events as they happen, and the table at the end."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rmqpool.testing.checker import Verdict
from workers.demo.score import Rate, Score

__all__ = ["Display"]

_EVENTS = 8


class Display:
    """A live table on a terminal; plain lines, one a second, anywhere else."""

    def __init__(self, console: Console, score: Score) -> None:
        self._console = console
        self._score = score
        self._events: list[str] = []
        self._started = time.monotonic()
        self._last_line = 0.0
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def event(self, sentence: str) -> None:
        """Something happened."""
        told = f"{time.monotonic() - self._started:5.1f} s  {sentence}"
        self._events.append(told)
        if self._live is None:
            self._console.print(told, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        """Show the figures of this moment."""
        if self._live is not None:
            self._live.update(Group(self._rates(), Text("\n".join(self._events[-_EVENTS:]))))
        elif time.monotonic() - self._last_line >= 1.0:
            self._last_line = time.monotonic()
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _rows(self) -> list[tuple[str, Rate]]:
        handled = [(f"handled by worker {number}", rate) for number, rate in self._score.handled.items()]
        return [("submitted", self._score.sent), ("confirmed", self._score.confirmed), *handled]

    def _rates(self) -> Table:
        table = Table(title="orders through RabbitMQ")
        table.add_column("")
        table.add_column("total", justify="right", min_width=8)
        table.add_column("a second", justify="right", min_width=8)
        for name, rate in self._rows():
            table.add_row(name, f"{rate.total:,}", f"{rate.per_second:,.0f}")
        return table

    def _line(self) -> str:
        figures = ", ".join(f"{name} {rate.total:,} ({rate.per_second:,.0f}/s)" for name, rate in self._rows())
        return f"{time.monotonic() - self._started:5.1f} s  {figures}"

    def end(self, verdict: Verdict) -> None:
        """The table that counts."""
        if self._live is not None:
            self._live.stop()
            for told in self._events:
                self._console.print(told, highlight=False, soft_wrap=True)
        table = Table(title="the account")
        table.add_column("")
        table.add_column("messages", justify="right")
        for name, count in (
            ("sent", verdict.attempted),
            ("confirmed", verdict.confirmed),
            ("handled", verdict.received),
            ("duplicates (handled again after a kill)", verdict.duplicates),
        ):
            table.add_row(name, f"{count:,}")
        others = {
            "returned": verdict.returned,
            "nacked": verdict.nacked,
            "not sent": verdict.not_sent,
            "unknown": verdict.unknown,
        }
        for name, count in others.items():
            if count:
                table.add_row(name, f"{count:,}")
        colour = "bold green" if not verdict.lost else "bold red"
        table.add_row(f"[{colour}]lost[/]", f"[{colour}]{len(verdict.lost):,}[/]")
        self._console.print(table)

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
