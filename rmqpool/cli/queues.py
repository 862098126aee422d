"""``rmqpool queues``: how many messages wait, and who consumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption
from rmqpool.cli.session import load
from rmqpool.cli.terminal import print_json, print_line, print_table

if TYPE_CHECKING:
    from rmqpool.cli.queue_rows import QueueRow

__all__ = ["register"]

_COLUMNS = ("queue", "type", "messages", "ready", "unacked", "consumers", "state")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("queues")(queues)


def queues(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Queues to look at; all if none is named.")
    ] = None,
    vhost: Annotated[str | None, typer.Option(help="Another virtual host than the URL's.")] = None,
    management_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The management API; otherwise http://HOST:15672."),
    ] = None,
    url: UrlOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show queues: messages, consumers.

    With names, the broker is asked over AMQP (a passive declare). AMQP cannot list queues: without names the
    management API is asked. Ends with 1 if a named queue does not exist or cannot be looked at.

    \b
    Example:
      rmqpool queues orders orders.dead
      rmqpool queues --management-url http://localhost:15672
    """
    from rmqpool.cli.queue_rows import look_at, with_vhost

    settings = load(url=url)
    connection = with_vhost(settings.connection(), vhost)
    if names and management_url is None:
        rows = look_at(connection, names, timeout)
    else:
        from rmqpool.cli.management import list_queues

        rows = list_queues(connection, management_url, timeout)
        rows = _chosen(rows, names) if names else rows
    _show(rows, connection.vhost, as_json)
    if any(row.problem for row in rows):
        raise typer.Exit(ExitCode.PROBLEMS)


def _chosen(rows: list[QueueRow], names: list[str]) -> list[QueueRow]:
    from rmqpool.cli.queue_rows import missing_row

    known = {row.name: row for row in rows}
    return [known.get(name) or missing_row(name) for name in dict.fromkeys(names)]


def _show(rows: list[QueueRow], vhost: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {"ok": not any(row.problem for row in rows), "vhost": vhost, "queues": [row.as_json() for row in rows]}
        )
        return
    if not rows:
        print_line(f"no queues in the virtual host {vhost!r}", error=True)
        return
    numbers = ("messages", "ready", "unacked", "consumers")
    print_table(_COLUMNS, [row.cells() for row in rows], right=numbers)
