"""``rmqpool dlq export``: dead letters as lines of JSON, in a file or on stdout."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from rmqpool.cli.dlq_session import (
    Choice,
    LimitOption,
    Place,
    QueueArgument,
    opened,
    progress,
)
from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError
from rmqpool.cli.option_groups import with_option_groups
from rmqpool.cli.outbox_session import DryRunOption
from rmqpool.cli.terminal import print_json, print_line
from rmqpool.errors import RmqpoolError

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("export")(with_option_groups(export))


def export(
    queue: QueueArgument,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="A file that is not there yet; - is stdout.", show_default=False)
    ] = "-",
    *,
    choice: Choice,
    limit: LimitOption = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take them from the queue, once they are on the disk.", show_default=False)
    ] = False,
    dry_run: DryRunOption = False,
    place: Place,
) -> None:
    """Write dead letters to a file, a line of JSON each, with all properties and headers. They stay in the queue.

    With --remove they are acknowledged after their lines are on the disk: whatever interrupts it, each message is in the
    file, in the queue, or in both. rmqpool dlq import puts them back.

    \b
    Example:
      rmqpool dlq export orders dead.jsonl --since 7d
      rmqpool dlq export orders dead.jsonl --remove
    """
    from rmqpool.cli.publishing.interrupt import Interrupt
    from rmqpool.dlq import export as run

    if file == "-" and remove and not dry_run:
        raise typer.BadParameter("--remove needs a FILE: lines on stdout are nowhere for certain")
    if file == "-" and place.as_json and not dry_run:
        raise typer.BadParameter("--json needs a FILE: without one, stdout is for the lines")
    selection = choice.selection(limit)
    with opened(queue, place) as letters:
        if dry_run:
            count = sum(1 for _ in letters.look(selection))
            _tell_dry_run(count, letters.name, place.as_json)
            return
        with (
            _output(file, remove=remove) as output,
            progress(wanted=file != "-" and not place.as_json) as update,
            Interrupt() as interrupt,
        ):
            done = run(
                letters,
                selection,
                output,
                remove=remove,
                stop=lambda: interrupt.requested,
                on_progress=lambda seen, of: update("exported", seen, of),
            )
            interrupted = interrupt.requested
    lost = remove and done.removed < done.exported
    code = ExitCode.INTERRUPTED if interrupted else ExitCode.PROBLEMS if done.unreadable or lost else ExitCode.OK
    if place.as_json:
        print_json({"ok": not code, "dry_run": False, "queue": letters.name, **dataclasses.asdict(done)})
    else:
        removed = (
            f", {done.removed:,} removed from {letters.name}" if remove else f", all of them stay in {letters.name}"
        )
        print_line(f"{done.exported:,} exported{removed}{' (interrupted)' if interrupted else ''}", error=file == "-")
        if done.unreadable:
            print_line(f"{done.unreadable:,} have properties that cannot be read, and were left out", error=True)
    if code:
        raise typer.Exit(code)


def _tell_dry_run(count: int, queue: str, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "dry_run": True, "queue": queue, "total": count})
    else:
        print_line(f"{count:,} messages of {queue} would be exported")


@contextmanager
def _output(path: str, *, remove: bool) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdout.buffer
        return
    from rmqpool.dlq.store import create

    try:
        with create(Path(path)) as file:
            yield file
    except RmqpoolError:  # some are OSErrors too
        keep = ", and keep this one: what is in it may be gone from the queue" if remove else ""
        print_line(f"{path} is not complete: export into another file when that is mended{keep}", error=True)
        raise
    except FileExistsError:
        raise _failure(f"{path} is there already: name a file that is not, so that nothing is overwritten") from None
    except OSError as error:
        raise _failure(f"{path} cannot be written: {error.strerror}; what is not in it is still in the queue") from None


def _failure(sentence: str) -> ReportedError:
    return ReportedError(sentence, kind="OutputError", exit_code=ExitCode.INPUT)
