"""``rmqpool topology plan``: the difference to the broker. Nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption
from rmqpool.cli.session import load, open_pool
from rmqpool.cli.terminal import print_json, print_line
from rmqpool.cli.topology_session import (
    DeclarationArgument,
    ManagementOption,
    NoManagementOption,
    declared_by,
    exit_code_of_plan,
    find_view,
    plan_as_json,
    show_plan,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rmqpool.cli.management import ManagementApi
    from rmqpool.core.topology_plan import Plan
    from rmqpool.pool import ConnectionPool
    from rmqpool.topology import Topology

__all__ = ["make_plan", "register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("plan")(plan)


def plan(
    declaration: DeclarationArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is there and not declared.", show_default=False)
    ] = False,
    management_url: ManagementOption = None,
    no_management: NoManagementOption = False,
    url: UrlOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is declared against what is there: to add (+), present (=), different (~), missing and not
    ours to add (!).

    The management API is asked if it answers; otherwise passive declares on throw-away channels, which cannot see
    bindings. Nothing is changed. Ends with 0 if there is nothing to do, 7 if something is to be added, 8 if something
    differs or is missing.

    \b
    Example:
      rmqpool topology plan shop.workers:worker
      rmqpool topology plan topology.json --all --management-url http://localhost:15672
    """
    settings = load(url=url)
    connection = settings.connection()
    declared = declared_by(declaration, connection.vhost)
    view = find_view(connection, management_url, timeout, wanted=not no_management)
    if everything and view is None:
        raise typer.BadParameter("--all needs the management API: AMQP cannot list what is there")
    if view is not None:
        found = make_plan(declared, view, None)
    else:
        with open_pool(settings, "topology plan", timeout) as pool:
            found = make_plan(declared, None, pool)
    if as_json:
        print_json(plan_as_json(found, declaration, everything=everything, view=view))
    else:
        show_plan(found, declaration, everything=everything)
        if exit_code_of_plan(found) is ExitCode.OK:
            print_line("nothing to do")
    raise typer.Exit(exit_code_of_plan(found))


def make_plan(declared: Sequence[Topology], view: ManagementApi | None, pool: ConnectionPool | None) -> Plan:
    """By the management API if there is one, by asking over AMQP otherwise."""
    from rmqpool.core.topology_plan import plan_of
    from rmqpool.planning.asking import plan_by_asking
    from rmqpool.planning.view import broker_from

    if view is not None:
        return plan_of(declared, broker_from(view))
    assert pool is not None
    return plan_by_asking(pool, declared)
