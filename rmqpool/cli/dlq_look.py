"""``rmqpool dlq ls`` and ``show``: look at dead letters. All of them go back, in their order."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from rmqpool.cli.dlq_session import (
    Choice,
    Place,
    QueueArgument,
    opened,
)
from rmqpool.cli.exits import ExitCode
from rmqpool.cli.option_groups import with_option_groups
from rmqpool.cli.terminal import print_json, print_line, print_table

__all__ = ["register"]

_MOST = 100_000


def register(group: typer.Typer) -> None:
    """Add the commands to ``group``."""
    group.command("ls")(with_option_groups(ls))
    group.command("show")(with_option_groups(show))


def ls(
    queue: QueueArgument,
    *,
    choice: Choice,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=_MOST, help="List so many at most.")] = 50,
    place: Place,
) -> None:
    """List dead letters, the oldest first.

    They are taken and put back: nothing is lost, and the order stays. Another reader does not see them meanwhile.

    \b
    Example:
      rmqpool dlq ls orders --reason exception --since 2h
      rmqpool dlq ls orders --where 'header.tenant == "a" and body.total > 100'
    """
    from rmqpool.cli.dlq_rows import COLUMNS, row
    from rmqpool.cli.dlq_rows import as_json as object_of

    selection = choice.selection(limit)
    with opened(queue, place) as letters, letters.opened() as reading:
        rows: list[Any] = [
            object_of(letter, whole=False) if place.as_json else row(letter) for letter in reading.chosen(selection)
        ]
        ready, seen = reading.bound, reading.seen
    if place.as_json:
        print_json({"ok": True, "queue": letters.name, "ready": ready, "looked_at": seen, "letters": rows})
        return
    if rows:
        print_table(COLUMNS, rows, right=("position", "attempt"))
    more = f", {ready - seen:,} were not looked at (--limit)" if seen < ready else ""
    print_line(f"{len(rows):,} of {ready:,} dead letters in {letters.name}{more}", error=True)


def show(
    queue: QueueArgument,
    message_id: Annotated[
        list[str] | None, typer.Argument(metavar="MESSAGE_ID", help="Messages, as ls lists them; otherwise the first.")
    ] = None,
    *,
    choice: Choice,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, max=_MOST, help="Show so many at most (1).")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Only the body, byte for byte.", show_default=False)] = False,
    place: Place,
) -> None:
    """Show dead letters whole: why, when, exception, traceback, headers, body.

    Ends with 1 if none is there that is meant.

    \b
    Example:
      rmqpool dlq show orders
      rmqpool dlq show orders 0197a3c2-5d1e-7cc3-98f4-2b7a90d1e6f3 --raw > body.json
    """
    from rmqpool.cli.dlq_rows import as_json as object_of
    from rmqpool.cli.dlq_rows import page

    if raw and place.as_json:
        raise typer.BadParameter("give either --raw or --json")
    ids = tuple(message_id or ())
    selection = choice.selection(limit or max(1, len(ids)), ids)
    objects = []
    found = 0
    with opened(queue, place) as letters:
        for letter in letters.look(selection):
            found += 1
            if place.as_json:
                objects.append(object_of(letter, whole=True))
            elif raw:
                sys.stdout.buffer.write(letter.delivery.body)
                sys.stdout.buffer.flush()
            else:
                print_line(("\n" if found > 1 else "") + page(letter, letters.name))
    if place.as_json:
        print_json({"ok": bool(found), "queue": letters.name, "letters": objects})
    elif not found:
        print_line(f"no such dead letter in {letters.name}; rmqpool dlq ls {queue} lists them", error=True)
    if not found:
        raise typer.Exit(ExitCode.PROBLEMS)
