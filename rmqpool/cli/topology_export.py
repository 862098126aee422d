"""``rmqpool topology export``: what the broker has, as JSON or as Python code, for plan to compare with later."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption
from rmqpool.cli.session import load
from rmqpool.cli.terminal import print_json, print_line
from rmqpool.cli.topology_session import ManagementOption

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("export")(export)


def export(
    form: Annotated[
        Literal["json", "python"],
        typer.Option("--format", help="json: as RabbitMQ's definitions; python: Queue(…) values."),
    ] = "json",
    management_url: ManagementOption = None,
    url: UrlOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the exchanges, queues and bindings of the virtual host, such that plan of it says: nothing to do.

    The broker's own (amq.…) and exclusive queues are left out. Ends with 1 if something else was, which is told.

    \b
    Example:
      rmqpool topology export > topology.json
      rmqpool topology export --format python > topology.py
    """
    from rmqpool.cli.management import ManagementApi
    from rmqpool.core.topology_text import as_definitions, as_python, from_definitions
    from rmqpool.planning.view import is_listed

    connection = load(url=url).connection()
    view = ManagementApi(connection, management_url, timeout)
    queues = view.queues()
    passing = {told["name"] for told in queues if not is_listed(told)}
    bindings = [told for told in view.bindings() if told["destination"] not in passing]
    told = {"exchanges": view.exchanges(), "queues": [one for one in queues if is_listed(one)], "bindings": bindings}
    values, left_out = from_definitions(told, connection.vhost)
    text = as_python(values) if form == "python" else json.dumps(as_definitions(values), indent=2)
    if as_json:
        print_json({"ok": not left_out, "vhost": connection.vhost, "left_out": left_out, "text": text})
    else:
        print_line(text.rstrip("\n"))
        for sentence in left_out:
            print_line(f"left out: {sentence}", error=True)
    if left_out:
        raise typer.Exit(ExitCode.PROBLEMS)
