"""``rmqpool topology apply``: adds what is missing. It changes nothing that is there, and deletes only what is named."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError
from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption
from rmqpool.cli.outbox_session import DryRunOption, YesOption, ask
from rmqpool.cli.session import load, open_pool
from rmqpool.cli.terminal import print_json, print_line
from rmqpool.cli.topology_plan import make_plan
from rmqpool.cli.topology_session import (
    DeclarationArgument,
    FiguresAgeOption,
    ManagementOption,
    NoManagementOption,
    declared_by,
    exit_code_of_plan,
    find_view,
    plan_as_json,
    show_plan,
)
from rmqpool.errors import RmqpoolError

if TYPE_CHECKING:
    from rmqpool.cli.management import ManagementApi
    from rmqpool.core.topology_plan import Plan
    from rmqpool.pool import ConnectionPool

__all__ = ["register"]


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("apply")(apply)


def apply(
    declaration: DeclarationArgument,
    delete: Annotated[
        list[str] | None,
        typer.Option(
            "--delete",
            metavar="KIND:NAME",
            help="Delete queue:NAME or exchange:NAME first, if nobody uses it and it is empty; may be repeated.",
        ),
    ] = None,
    even_if_not_empty: Annotated[
        bool, typer.Option("--even-if-not-empty", help="With --delete: messages are lost.", show_default=False)
    ] = False,
    figures_age: FiguresAgeOption = 6.0,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    management_url: ManagementOption = None,
    no_management: NoManagementOption = False,
    url: UrlOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add what is declared and not there, in order: exchanges, queues, bindings.

    Nothing that is there is changed or deleted, except what is named with --delete, each by its name. For what
    differs the way out is printed. Asks first. Ends with 8 if something differs.

    \b
    Example:
      rmqpool topology apply shop.workers:worker --dry-run
      rmqpool topology apply shop.workers:worker --delete queue:orders.old --yes
    """
    settings = load(url=url)
    connection = settings.connection()
    declared = declared_by(declaration, connection.vhost)
    named = [_named(text) for text in delete or []]
    view = find_view(connection, management_url, timeout, wanted=not no_management)
    if named and view is None:
        raise typer.BadParameter("--delete needs the management API: AMQP does not tell unacknowledged messages")
    with open_pool(settings, "topology apply", timeout) as pool:
        plan = make_plan(declared, view, pool)
        if not as_json:
            show_plan(plan, declaration, everything=False)
        deleted: list[str] = []
        added: list[dict[str, Any]] = []
        if not dry_run:
            deleted = _delete(pool, view, named, yes, None if even_if_not_empty else figures_age)
            plan = make_plan(declared, view, pool) if deleted else plan
            added = _add(pool, plan, yes)
            plan = make_plan(declared, view, pool) if added else plan
    if as_json:
        told = plan_as_json(plan, declaration, everything=False, view=view)
        print_json({**told, "dry_run": dry_run, "deleted": deleted, "added": added})
    else:
        would = [f"{kind}:{name}" for kind, name in named] if dry_run else []
        print_line(
            f"added {len(added)}, deleted {len(deleted)}" + (f"; would delete {', '.join(would)}" if would else "")
        )
    raise typer.Exit(exit_code_of_plan(plan))


def _named(text: str) -> tuple[str, str]:
    kind, _, name = text.partition(":")
    if kind not in ("queue", "exchange") or not name:
        raise typer.BadParameter(f"--delete takes queue:NAME or exchange:NAME, not {text!r}")
    return kind, name


def _delete(
    pool: ConnectionPool, view: ManagementApi | None, named: list[tuple[str, str]], yes: bool, figures_age: float | None
) -> list[str]:
    """``figures_age``: seconds after which the API knows who holds messages now; None: they may be lost."""
    from rmqpool.core.topology_facts import queue_properties
    from rmqpool.planning.applying import delete_exchange, delete_queue

    deleted = []
    for kind, name in named:
        if kind == "exchange":
            ask(f"Delete exchange {name!r}?", yes)
            delete_exchange(pool, name)
        else:
            assert view is not None
            told = view.queue(name)
            if told is None:
                raise ReportedError(f"there is no queue {name!r}", kind="NotFoundError", exit_code=ExitCode.REFUSED)
            warning = ", with all its messages, for good" if figures_age is None else ""
            ask(f"Delete queue {name!r}{warning}?", yes)
            held = 0
            if figures_age is not None:
                threading.Event().wait(figures_age)
                held = _held(view, name)
            delete_queue(pool, name, queue_properties(told), held, even_if_not_empty=figures_age is None)
        deleted.append(f"{kind}:{name}")
    return deleted


def _held(view: ManagementApi, name: str) -> int:
    held = view.unacknowledged(name)
    if held is None:
        raise ReportedError(
            f"queue {name!r} was not deleted: the management API does not count its messages; say --even-if-not-empty",
            kind="ManagementError",
            exit_code=ExitCode.REFUSED,
        )
    return held


def _add(pool: ConnectionPool, plan: Plan, yes: bool) -> list[dict[str, Any]]:
    """Bindings that cannot be seen are bound too: binding twice is binding once."""
    from rmqpool.core.topology_plan import State
    from rmqpool.planning.applying import add

    entries = [entry for entry in plan.entries if entry.state in (State.ADD, State.UNSEEN)]
    if not entries:
        return []
    ask(f"Add {len(entries)} of {len(plan.entries)}?", yes)
    for done, entry in enumerate(entries):
        try:
            add(pool, entry.item)
        except RmqpoolError as error:
            raise ReportedError(
                f"{error} ({done} of {len(entries)} were added; run it again to add the rest)",
                kind=type(error).__name__,
                exit_code=ExitCode.REFUSED,
                facts={"added": [one.as_json() for one in entries[:done]]},
            ) from None
    return [entry.as_json() for entry in entries]
