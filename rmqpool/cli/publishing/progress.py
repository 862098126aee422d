"""The progress bar: on stderr, on a terminal only, drawn by Rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rmqpool.cli.publishing.tally import Tally

__all__ = ["progress"]

Update = Callable[[Tally, int], None]


@contextmanager
def progress(total: int | None, wanted: bool) -> Iterator[Update]:
    """A function that shows a tally and the bytes read; ``total`` bytes are to be read (None: not known)."""
    if not wanted or not sys.stderr.isatty():
        yield lambda tally, read: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from rmqpool.cli.terminal import console

    columns = (
        TextColumn("{task.fields[counts]}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(error=True)) as bar:
        task = bar.add_task("publish", total=total, counts="0 messages", rate="")

        def update(tally: Tally, read: int) -> None:
            if tally.total % 100 and tally.total > 100:
                return
            failed = f", {tally.failed} not confirmed" if tally.failed else ""
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{tally.total / elapsed:,.0f}/s" if elapsed > 0.2 else ""
            bar.update(task, completed=read, counts=f"{tally.total:,} messages{failed}", rate=rate)

        yield update
