"""``rmqpool topology migrate``: a classic queue becomes a quorum queue of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption
from rmqpool.cli.outbox_session import DryRunOption, YesOption, ask
from rmqpool.cli.session import load, open_pool
from rmqpool.cli.terminal import print_json, print_line
from rmqpool.cli.topology_session import FiguresAgeOption, ManagementOption, declared_by
from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rmqpool.topology import Queue

__all__ = ["register"]

_SENTENCES = {
    "temporary": "the temporary queue is there",
    "moved": "messages are moved out; looking whether nothing comes and nobody holds one",
    "deleted": "the classic queue is deleted",
    "declared": "the quorum queue is declared",
    "returned": "messages are moved back; looking whether nothing comes",
    "removed": "the temporary queue is deleted",
}


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("migrate")(migrate)


def migrate(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The classic queue.")],
    to: Annotated[Literal["quorum"], typer.Option("--to", help="What it becomes.")] = "quorum",
    declaration: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="DECLARATION",
            help="MODULE:WORKER, MODULE:LIST or FILE.json that declares the new queue; otherwise what the old one did.",
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="How long to wait until the consumers are gone.")
    ] = 0.0,
    window: Annotated[
        int, typer.Option("--window", min=1, max=1000, help="Messages on their way at once; a kill may double those.")
    ] = 100,
    figures_age: FiguresAgeOption = 6.0,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    management_url: ManagementOption = None,
    url: UrlOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a classic queue to a quorum queue of the same name, without losing messages.

    Over QUEUE.migration: publish, wait for the confirm, acknowledge. Interrupted at any point, even killed, it is run
    again with the same arguments and goes on. Consumers must be stopped, and publishers that publish to the queue by
    name paused; publishers to exchanges may go on. Needs the management API. --dry-run shows the steps and where it is.

    \b
    Example:
      rmqpool topology migrate orders --to quorum --as shop.workers:worker --dry-run
    """
    from rmqpool.cli.management import ManagementApi
    from rmqpool.core.queue_migration import Stage, recipe
    from rmqpool.planning.migrating import Migration, MigrationOptions
    from rmqpool.planning.view import bindings_of

    settings = load(url=url)
    connection = settings.connection()
    successor = None if declaration is None else _named(queue, declaration, connection.vhost)
    view = ManagementApi(connection, management_url)
    options = MigrationOptions(window, figures_age, 3600.0 if timeout is None else timeout, wait)
    with open_pool(settings, "topology migrate", None) as pool:
        migration = Migration(pool, view, queue, successor, options, _teller(as_json))
        stage = migration.stage()
        told: dict[str, Any] = {"ok": True, "dry_run": dry_run, "queue": queue, "stage": str(stage)}
        if stage is Stage.DONE:
            text = [f"{queue} is a quorum queue: nothing to do"]
        else:
            new, dropped = migration.successor()
            bindings = len(bindings_of(view, queue)) if stage is Stage.PREPARE else None
            steps = recipe(queue, new, bindings)
            told.update(becomes=new.declare_arguments(), dropped=list(dropped), steps=steps)
            text = [f"{number}. {step}" for number, step in enumerate(steps, 1)]
            text += [f"not kept, as no quorum queue knows it: {name}" for name in dropped]
            text += [f"it goes on at: {stage}"] if stage is not Stage.PREPARE else []
        if dry_run or stage is Stage.DONE:
            # A queue that is done may have an exchange left over from a process that was killed last of all.
            report = migration.run() if not dry_run else None
        else:
            _print(text, as_json, error=True)
            ask(f"Migrate queue {queue!r} in this way?", yes)
            report = migration.run()
            text = [f"{queue} is a quorum queue; messages moved, out and back: {report.moved:,}"]
    if report is not None:
        told.update(moved=report.moved, stages=[str(one) for one in report.stages])
    if as_json:
        print_json(told)
    else:
        _print(text, as_json)


def _named(name: str, declaration: str, vhost: str) -> Queue:
    from rmqpool.topology import Queue, expand

    for item in expand(declared_by(declaration, vhost)):
        if isinstance(item, Queue) and item.name == name:
            if item.type != "quorum":
                raise ConfigurationError(
                    f"{declaration} declares {name!r} as a {item.type} queue: make it a quorum queue"
                )
            return item
    raise ConfigurationError(f"{declaration} declares no queue {name!r}")


def _teller(as_json: bool) -> Callable[[str], None]:
    def tell(step: str) -> None:
        if step in _SENTENCES and not as_json:
            print_line(_SENTENCES[step], error=True)

    return tell


def _print(lines: list[str], as_json: bool, *, error: bool = False) -> None:
    for line in lines if not as_json else ():
        print_line(line, error=error)
