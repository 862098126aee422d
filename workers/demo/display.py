"""What the audience sees: rates while it runs, events as they happen, and the table at the end."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from workers.demo.score import Account, Rate, Score

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
        before = [("committed", self._score.committed), ("rolled back", self._score.rolled_back)]
        return [*before, ("published", self._score.published), *handled]

    def _rates(self) -> Table:
        table = Table(title="orders through outbox, broker and inbox")
        table.add_column("")
        table.add_column("total", justify="right", min_width=8)
        table.add_column("a second", justify="right", min_width=8)
        for name, rate in self._rows():
            table.add_row(name, f"{rate.total:,}", f"{rate.per_second:,.0f}")
        return table

    def _line(self) -> str:
        figures = ", ".join(f"{name} {rate.total:,} ({rate.per_second:,.0f}/s)" for name, rate in self._rows())
        return f"{time.monotonic() - self._started:5.1f} s  {figures}"

    def end(self, account: Account) -> None:
        """The table that counts."""
        if self._live is not None:
            self._live.stop()
            for told in self._events:
                self._console.print(told, highlight=False, soft_wrap=True)
        table = Table(title="the account")
        table.add_column("")
        table.add_column("orders", justify="right")
        for name, count in (
            ("committed", account.committed),
            ("published", account.published),
            ("handled", account.handled),
            ("rolled back", account.rolled_back),
        ):
            table.add_row(name, f"{count:,}")
        if account.phantom:
            table.add_row("[bold red]rolled back and handled[/]", f"[bold red]{account.phantom:,}[/]")
        for name, count in (("lost", account.lost), ("effects doubled", account.doubled)):
            colour = "bold red" if count else "bold green"
            table.add_row(f"[{colour}]{name}[/]", f"[{colour}]{count:,}[/]")
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
