"""``rmqpool outbox replay``, ``skip`` and ``prune``: repairs by hand. They ask before they change anything."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.options import JsonOption
from rmqpool.cli.outbox_session import (
    DatabaseOption,
    DryRunOption,
    PrefixOption,
    SchemaOption,
    YesOption,
    ask,
    connected,
    duration,
    tables_of,
)
from rmqpool.cli.terminal import print_json, print_line

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the commands to ``group``."""
    group.command("replay")(replay)
    group.command("skip")(skip)
    group.command("prune")(prune)


def replay(
    url: DatabaseOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    stall: Annotated[
        list[str] | None,
        typer.Option("--stall", metavar="STALL", help="A stalled key, as stalled lists it (key:…); may be repeated."),
    ] = None,
    dead: Annotated[
        list[str] | None,
        typer.Option("--dead", metavar="ID[,ID]", help="Dead rows, as dead lists them; may be repeated."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All stalled keys and all dead rows.")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send stalled keys and dead rows again.

    A stalled key is tried at once. A dead row waits again, with a new id and the same message id, behind what waits
    already. Ends with 1 if something that was named is not there.

    \b
    Example:
      rmqpool outbox replay --stall key:customer-7
      rmqpool outbox replay --dead 41,42 --yes
    """
    from rmqpool.outbox.migrations import check_version
    from rmqpool.outbox.repair import replay as repair

    if everything == bool(stall or dead):
        raise typer.BadParameter("say what to replay: --stall STALL, --dead ID, or --all")
    ids = _ids(dead or [])
    tables = tables_of(schema, prefix)
    with connected(url, "replay", tables) as connection:
        check_version(connection, tables)
        stalls_of, ids_of = (None, None) if everything else (stall or [], ids)
        done = repair(connection, tables, stalls=stalls_of, dead=ids_of, dry_run=True)
        if not dry_run and (done.stalled or done.dead):
            ask(f"Replay {done.stalled:,} stalled keys and {done.dead:,} dead rows?", yes)
            done = repair(connection, tables, stalls=stalls_of, dead=ids_of)
    if as_json:
        print_json({"ok": not done.missing, "dry_run": dry_run, **dataclasses.asdict(done)})
    else:
        verb = "would be replayed" if dry_run else "replayed"
        print_line(f"{done.stalled:,} stalled keys and {done.dead:,} dead rows {verb}")
        for name in done.missing:
            print_line(f"not there: {name}", error=True)
    if done.missing:
        raise typer.Exit(ExitCode.PROBLEMS)


def skip(
    stall: Annotated[str, typer.Argument(metavar="STALL", help="What stalls, as stalled lists it: key:… or row:….")],
    url: DatabaseOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give up the first row of a stalled key: it goes to the dead rows, and the rest may leave at once.

    \b
    Example:
      rmqpool outbox skip key:customer-7
    """
    from rmqpool.outbox.migrations import check_version
    from rmqpool.outbox.repair import skip as repair

    tables = tables_of(schema, prefix)
    with connected(url, "skip", tables) as connection:
        check_version(connection, tables)
        done = repair(connection, tables, stall, dry_run=True)
        if not dry_run:
            ask(f"Give up row {done.id} (message {done.message_id}), the first of {done.left + 1:,} of {stall!r}?", yes)
            done = repair(connection, tables, stall)
    if as_json:
        print_json({"ok": True, "dry_run": dry_run, **dataclasses.asdict(done)})
        return
    verb = "would go" if dry_run else "went"
    print_line(
        f"row {done.id} (message {done.message_id}) {verb} to the dead rows; {done.left:,} of {stall!r} are left"
    )


def prune(
    url: DatabaseOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    inbox_older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Remove the inbox's marks older than that, such as 30d.")
    ] = None,
    dead_older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Remove dead rows older than that, such as 30d.")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what is old: marks of the inbox, and dead rows. For good.

    In chunks, so that nobody waits for it. Keep the inbox's marks for longer than a message may take to come again: a
    message that comes after that is handled a second time.

    \b
    Example:
      rmqpool outbox prune --inbox-older-than 30d --dead-older-than 90d --yes
    """
    from rmqpool.outbox.migrations import check_version
    from rmqpool.outbox.repair import prune as repair

    inbox_age = duration(inbox_older_than, "--inbox-older-than")
    dead_age = duration(dead_older_than, "--dead-older-than")
    if inbox_age is None and dead_age is None:
        raise typer.BadParameter("say what to remove: --inbox-older-than 30d, --dead-older-than 30d, or both")
    tables = tables_of(schema, prefix)
    with connected(url, "prune", tables) as connection:
        check_version(connection, tables)
        done = repair(
            connection, tables, inbox_older_than=inbox_age, dead_older_than=dead_age, dry_run=dry_run or not yes
        )
        if not dry_run and not yes and (done.inbox or done.dead):
            ask(f"Remove {done.inbox:,} marks of the inbox and {done.dead:,} dead rows, for good?", yes)
            done = repair(connection, tables, inbox_older_than=inbox_age, dead_older_than=dead_age)
    if as_json:
        print_json({"ok": True, "dry_run": dry_run, **dataclasses.asdict(done)})
        return
    verb = "would be removed" if dry_run else "removed"
    print_line(f"{done.inbox:,} marks of the inbox and {done.dead:,} dead rows {verb}")


def _ids(texts: list[str]) -> list[int]:
    ids = [text.strip() for given in texts for text in given.split(",") if text.strip()]
    if not all(text.isascii() and text.isdigit() and int(text) < 2**63 for text in ids):
        raise typer.BadParameter("--dead takes ids, as rmqpool outbox dead lists them: --dead 41,42")
    return [int(text) for text in ids]
