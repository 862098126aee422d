"""``rmqpool dlq import``: lines that ``export`` wrote become dead letters again, each confirmed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmqpool.cli.dlq_session import Place, QueueArgument, RateOption, opened
from rmqpool.cli.exits import ExitCode
from rmqpool.cli.option_groups import with_option_groups
from rmqpool.cli.outbox_session import DryRunOption
from rmqpool.cli.terminal import print_json, print_line, styled

if TYPE_CHECKING:
    from rmqpool.cli.publishing.reading import Body
    from rmqpool.cli.publishing.tally import Tally
    from rmqpool.dlq import DeadLetterQueue
    from rmqpool.errors import RmqpoolError

__all__ = ["import_", "register"]

_SHOWN = 5


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("import")(with_option_groups(import_))


def import_(
    queue: QueueArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What rmqpool dlq export wrote; - is stdin.")],
    *,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    place: Place,
) -> None:
    """Put exported dead letters back among the dead letters of QUEUE, with their message ids. replay sends them on.

    A line that is wrong (a file that was cut off) stops it: the error names the line, all lines before it are in.
    Importing a file twice puts its messages there twice.

    \b
    Example:
      rmqpool dlq import orders dead.jsonl --dry-run
      rmqpool dlq import orders dead.jsonl && rmqpool dlq replay orders
    """
    from rmqpool.cli.publishing.reading import lines_of
    from rmqpool.cli.publishing.reading import opened as opened_file
    from rmqpool.cli.publishing.stops import early_end
    from rmqpool.cli.publishing.tally import Tally

    source = "stdin" if file == "-" else file
    with opened_file(file) as lines:
        bodies = _bodies(lines_of(lines), source)
        if dry_run:
            count = sum(1 for _ in bodies)
            if place.as_json:
                print_json({"ok": True, "dry_run": True, "total": count})
            else:
                print_line(f"{count:,} messages of {source} can be imported")
            return
        size = Path(file).stat().st_size if file != "-" else None
        with opened(queue, place) as letters:
            tally, began = Tally(), time.monotonic()
            stopped = _run(letters, tally, bodies, size, rate, place.as_json)
    failure = early_end(tally, stopped)
    code = failure.exit_code if failure else ExitCode.PROBLEMS if tally.failed else ExitCode.OK
    seconds = time.monotonic() - began
    if place.as_json:
        error = failure.as_json() if failure else {}
        print_json({"queue": letters.name, "dry_run": False, **tally.as_json(seconds), **error})
    else:
        for failed in tally.failures[:_SHOWN]:
            print_line(f"{styled('not confirmed:', 'red', sys.stderr)} line {failed.line}: {failed.error}", error=True)
        if tally.failed > _SHOWN:
            print_line(f"… and {tally.failed - _SHOWN} more that were not confirmed (--json tells them)", error=True)
        if failure:
            print_line(f"{styled('rmqpool:', 'red', sys.stderr)} {failure.message}", error=True)
        print_line(f"into {letters.name}: {tally.summary(seconds)}")
    if code:
        raise typer.Exit(code)


def _run(
    letters: DeadLetterQueue, tally: Tally, bodies: Iterator[Body], size: int | None, rate: float | None, as_json: bool
) -> RmqpoolError | KeyboardInterrupt | None:
    from rmqpool.cli.publishing.interrupt import Interrupt
    from rmqpool.cli.publishing.pacing import Pacer
    from rmqpool.cli.publishing.pipeline import Pipeline
    from rmqpool.cli.publishing.progress import progress
    from rmqpool.dlq import letter_of, restored_message
    from rmqpool.future import PublishFuture
    from rmqpool.publisher import Publisher

    publisher = Publisher(letters.pool, timeout=letters.timeout)
    user = letters.pool.settings.user

    def submit(body: Body) -> PublishFuture:
        return publisher.submit_message(restored_message(letter_of(body.content), letters.name, user))

    with progress(size, wanted=not as_json) as update, Interrupt() as interrupt:
        try:
            return Pipeline(submit, tally, interrupt, Pacer(rate), update).run(bodies)
        except KeyboardInterrupt as error:
            return error


def _bodies(lines: Iterable[bytes], source: str) -> Iterator[Body]:
    """One line each, checked; empty lines are passed over. ReportedError at the first line that is wrong."""
    from rmqpool.cli.failures import ReportedError
    from rmqpool.cli.publishing.reading import Body
    from rmqpool.dlq import letter_of
    from rmqpool.errors import MessageError

    read = 0
    for number, line in enumerate(lines, 1):
        read += len(line)
        if not line.strip():
            continue
        try:
            letter_of(line)
        except MessageError as error:
            raise ReportedError(
                f"{source}:{number}: {error}; nothing from this line on was imported: correct it and go on with "
                f"tail -n +{number}",
                kind="InputError",
                exit_code=ExitCode.INPUT,
                facts={"source": source, "line": number},
            ) from None
        yield Body(line, "", number, read)
