"""``rmqpool dlq purge``: remove dead letters for good. It asks first, and removes exactly what it asked about."""

from __future__ import annotations

import dataclasses
import sys

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
from rmqpool.cli.option_groups import with_option_groups
from rmqpool.cli.outbox_session import DryRunOption, YesOption, ask
from rmqpool.cli.terminal import print_json, print_line

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("purge")(with_option_groups(purge))


def purge(
    queue: QueueArgument,
    *,
    choice: Choice,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    place: Place,
) -> None:
    """Remove dead letters for good: all, or those that are meant. export --remove keeps them in a file instead.

    It takes the messages first and then asks: what is parked later is not among what is removed. Answer before the
    broker's consumer timeout (30 minutes), otherwise they all go back.

    \b
    Example:
      rmqpool dlq purge orders --where 'age > 2592000' --dry-run
      rmqpool dlq purge orders --reason decode --yes
    """
    from rmqpool.cli.publishing.interrupt import Interrupt
    from rmqpool.dlq import purge as run

    selection = choice.selection(limit)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise typer.BadParameter("nobody is there to answer whether to purge: add --yes, or look first with --dry-run")
    with opened(queue, place) as letters, Interrupt() as interrupt:
        with progress(wanted=yes and not place.as_json) as update:  # a bar and a question do not go together

            def agreed(matched: int) -> bool:
                if dry_run:
                    return False
                with interrupt.allowed():
                    ask(f"Remove {matched:,} dead letters from {letters.name}, for good?", yes)
                return True

            done = run(
                letters,
                selection,
                agreed,
                stop=lambda: interrupt.requested,
                on_progress=lambda seen, of: update("looking", seen, of),
            )
        interrupted = interrupt.requested
    left = not dry_run and done.removed < done.matched
    code = ExitCode.INTERRUPTED if interrupted and left else ExitCode.PROBLEMS if left else ExitCode.OK
    if place.as_json:
        print_json({"ok": not code, "dry_run": dry_run, "queue": letters.name, **dataclasses.asdict(done)})
    elif dry_run:
        print_line(f"{done.matched:,} of {done.ready:,} messages would be removed from {letters.name}")
    else:
        print_line(f"{done.removed:,} messages were removed from {letters.name}, {done.ready - done.removed:,} stay")
    if code:
        raise typer.Exit(code)
