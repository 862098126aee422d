"""``rmqpool outbox migrate``: the tables, made or brought up to date, or their SQL printed."""

from __future__ import annotations

from typing import Annotated

import typer

from rmqpool.cli.options import JsonOption
from rmqpool.cli.outbox_session import DatabaseOption, DryRunOption, PrefixOption, SchemaOption, connected, tables_of
from rmqpool.cli.terminal import print_json, print_line

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("migrate")(migrate)


def migrate(
    url: DatabaseOption = None,
    schema: SchemaOption = None,
    prefix: PrefixOption = "rmqpool",
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL and connect to nothing: for Alembic, Django or psql.")
    ] = False,
    after: Annotated[
        int, typer.Option("--after", min=0, metavar="N", help="With --sql: leave out the versions up to N.")
    ] = 0,
    up_to: Annotated[
        int | None, typer.Option("--up-to", min=1, metavar="N", help="Stop at this version.", show_default=False)
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create the outbox's tables, or bring them up to date.

    In one transaction under an advisory lock: nothing is half-done, and two at once do it once. --sql has no BEGIN and
    no COMMIT; with --after it is what a database of version N lacks.

    \b
    Example:
      rmqpool outbox migrate --url postgresql://user:password@localhost/shop
      rmqpool outbox migrate --sql > outbox.sql
    """
    from rmqpool.outbox.migrations import LATEST, migration_sql, migrations, pending_migrations
    from rmqpool.outbox.migrations import migrate as apply

    if up_to is not None and up_to > LATEST:
        raise typer.BadParameter(f"--up-to is {up_to}; this release knows the versions 1 to {LATEST}")
    if after and not sql:
        raise typer.BadParameter("--after is for --sql: what was applied to a database is known there")
    tables, last = tables_of(schema, prefix), up_to or LATEST
    if sql:
        text = migration_sql(tables, after=after, up_to=last)
        if as_json:
            versions = [one.version for one in migrations(tables) if after < one.version <= last]
            print_json({"ok": True, "versions": versions, "sql": text})
        else:
            print_line(text.rstrip("\n"))
        return
    with connected(url, "migrate", tables) as connection:
        applied = (pending_migrations if dry_run else apply)(connection, tables, up_to=last)
    if as_json:
        told = [{"version": one.version, "name": one.name} for one in applied]
        print_json({"ok": True, "dry_run": dry_run, "applied": told, "latest": LATEST})
        return
    for one in applied:
        print_line(f"{'would apply' if dry_run else 'applied'} {one.version:04} {one.name}")
    if not applied:
        print_line(f"nothing to do: {tables.outbox} is up to date")
