"""The options of ``rmqpool dlq``, from them to a queue and a selection, and the progress of what takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption
from rmqpool.cli.outbox_session import duration
from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    from rmqpool.dlq import DeadLetterQueue, Selection

__all__ = [
    "Choice",
    "LimitOption",
    "Place",
    "QueueArgument",
    "RateOption",
    "opened",
    "progress",
]

_CLOSE = 5.0  # seconds to close the pool

QueueArgument = Annotated[
    str,
    typer.Argument(metavar="QUEUE", help="The queue of work, or that of its dead letters: orders means orders.dead."),
]
ExactOption = Annotated[
    bool,
    typer.Option("--exact", help="QUEUE is the dead-letter queue itself, whatever its name is.", show_default=False),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="CONDITION", help="Only those for which it holds; rmqpool dlq --help has its names."
    ),
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Only those whose reason begins so: exception, decode.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="AGE|TIME", help="Only those parked since then: 2h, or 2026-01-31T12:00 (UTC)."),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many, from the queue's head.")
]
RateOption = Annotated[
    float | None, typer.Option("--rate", metavar="N", min=0.001, max=1e6, help="Messages a second at most.")
]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters are meant."""

    where: WhereOption = None
    reason: ReasonOption = None
    since: SinceOption = None

    def selection(self, limit: int | None, ids: tuple[str, ...] = ()) -> Selection:
        """What the options mean. A usage error for a condition or a time that cannot be read."""
        from rmqpool.dlq import Selection, condition

        try:
            parsed = None if self.where is None else condition(self.where)
        except ConfigurationError as error:
            raise typer.BadParameter(f"--where: {error}") from None
        return Selection(parsed, self.reason, _moment(self.since), frozenset(ids), limit)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the queue is, and how the answer is told."""

    exact: ExactOption = False
    url: UrlOption = None
    timeout: TimeoutOption = None
    as_json: JsonOption = False


@contextmanager
def opened(queue: str, place: Place) -> Iterator[DeadLetterQueue]:
    """The dead-letter queue that is meant, over a pool of the command's own, which is closed at the end."""
    from rmqpool.cli.session import load, open_pool
    from rmqpool.dlq import DeadLetterQueue, resolve

    pool, timeout = open_pool(load(url=place.url), "dlq", place.timeout), place.timeout
    try:
        yield DeadLetterQueue(pool, resolve(pool, queue, exact=place.exact, timeout=timeout), timeout=timeout)
    finally:
        pool.close(_CLOSE)


@contextmanager
def progress(wanted: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function that shows a text, and how many of how many messages were seen: on stderr, on a terminal only."""
    if not wanted or not sys.stderr.isatty():
        yield lambda text, seen, of: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from rmqpool.cli.terminal import console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(error=True)) as bar:
        task = bar.add_task("looking", total=None)
        yield lambda text, seen, of: bar.update(task, description=text, completed=seen, total=of)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            age = duration(text, "--since")
        except typer.BadParameter:
            raise typer.BadParameter(
                "--since must be an age, such as 30m, 2h or 7d, or a time, such as 2026-01-31T12:00"
            ) from None
        return datetime.now(UTC) - age if age is not None else None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
