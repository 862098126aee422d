"""What the commands of ``rmqpool topology`` share: the declaration, the broker to look at, and how a plan is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import ReportedError
from rmqpool.cli.terminal import print_line, styled
from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    from rmqpool.cli.management import ManagementApi
    from rmqpool.core.topology_plan import Entry, Plan
    from rmqpool.settings import ConnectionSettings
    from rmqpool.topology import Topology

__all__ = [
    "DeclarationArgument",
    "FiguresAgeOption",
    "ManagementOption",
    "NoManagementOption",
    "declared_by",
    "exit_code_of_plan",
    "find_view",
    "plan_as_json",
    "recipes_of",
    "show_plan",
]

DeclarationArgument = Annotated[
    str,
    typer.Argument(
        metavar="DECLARATION",
        help="MODULE:WORKER, MODULE:LIST (of Queue, Exchange, Binding), or FILE.json as topology export writes it.",
    ),
]
ManagementOption = Annotated[
    str | None,
    typer.Option(
        "--management-url",
        metavar="URL",
        help="The management API; otherwise http://HOST:15672 if the broker's port is the usual one.",
        show_default=False,
    ),
]
NoManagementOption = Annotated[
    bool, typer.Option("--no-management", help="Look over AMQP only: bindings are not seen.", show_default=False)
]

FiguresAgeOption = Annotated[
    float,
    typer.Option(
        "--figures-age",
        metavar="SECONDS",
        min=0.1,
        help="How old the API's counts may be: more than the broker's collect_statistics_interval.",
    ),
]

_USUAL_PORTS = (5672, 5671)
_SIGNS = {
    "add": ("+", "green"),
    "different": ("~", "yellow"),
    "missing": ("!", "red"),
    "present": ("=", "dim"),
    "unseen": ("?", "dim"),
}


def declared_by(declaration: str, vhost: str) -> tuple[Topology, ...]:
    """The values of a worker, of a list, or of a file. Raises ConfigurationError, ReportedError for a file (5)."""
    from rmqpool.cli.loading import load_topology
    from rmqpool.core.topology_text import from_json

    if not declaration.endswith(".json"):
        return load_topology(declaration)
    try:
        return tuple(from_json(Path(declaration).read_text(encoding="utf-8"), vhost))
    except (OSError, UnicodeDecodeError, ConfigurationError) as error:
        why = getattr(error, "strerror", None) or error
        raise ReportedError(
            f"{declaration} cannot be read: {why}", kind="InputError", exit_code=ExitCode.INPUT
        ) from None


def find_view(
    settings: ConnectionSettings, url: str | None, timeout: float | None, *, wanted: bool
) -> ManagementApi | None:
    """The management API if it answers. None, told on stderr, if it does not and nobody insists on it.

    Without ``url`` it is looked for only where the broker's own port is the usual one: elsewhere it may be another's.
    """
    from rmqpool.cli.management import ManagementApi

    if not wanted:
        return None
    if url is None and settings.socket_path is not None:
        _tell_unseen("behind an agent its address is not known: name the management API with --management-url")
        return None
    if url is None and settings.hosts[0][1] not in _USUAL_PORTS:
        _tell_unseen("the broker's port is not the usual one: name the management API with --management-url")
        return None
    view = ManagementApi(settings, url, timeout)
    try:
        view.exchanges()
    except ReportedError as error:
        if url is not None:
            raise
        _tell_unseen(str(error))
        return None
    return view


def _tell_unseen(why: str) -> None:
    print_line(f"looking over AMQP only, which cannot list anything or see bindings: {why}", error=True)


def show_plan(plan: Plan, declaration: str, *, everything: bool) -> None:
    """One line for each value on stdout, with each difference below it, and a line that counts them."""
    for entry in plan.entries:
        sign, style = _SIGNS[str(entry.state)]
        print_line(styled(f"{sign} {_told(entry)}", style))
        for name, (declared, there) in entry.differences.items():
            print_line(f"    {name}: declared {_shown(declared)}, there {_shown(there)}")
        for recipe in recipes_of(entry, declaration):
            print_line(f"    {recipe}")
    if everything:
        for kind, name in plan.undeclared:
            print_line(styled(f"  {kind} {name}: there, not declared", "dim"))
    counts = plan.counts()
    more = f", {counts['unseen']} not seen (bindings)" if counts["unseen"] else ""
    more += f", {counts['missing']} missing" if counts["missing"] else ""
    print_line(f"{counts['add']} to add, {counts['present']} present, {counts['different']} different{more}")


def recipes_of(entry: Entry, declaration: str) -> list[str]:
    """What to do about a queue or exchange that differs."""
    from rmqpool.core.topology_facts import QUEUE_TYPE
    from rmqpool.topology import Binding, Queue

    if entry.state == "missing":
        return ["it is somebody else's (passive=True), and apply does not add it: have its owner declare it"]
    if not entry.differences or isinstance(entry.item, Binding):
        return []
    name = entry.item.name
    if not isinstance(entry.item, Queue):
        return [
            "arguments of an exchange never change: declare it as it is, or declare one of another name, bind its queues "
            f"there too, move the publishers, and delete the old one (apply --delete exchange:{name})"
        ]
    if entry.differences.get(QUEUE_TYPE) == ("quorum", "classic"):
        return [
            f"to move it without losing messages: rmqpool topology migrate {name} --to quorum --as {declaration} "
            "(--dry-run shows the steps)"
        ]
    return [
        "arguments of a queue never change: declare it as it is; or set by a policy what a policy can set (limits, TTL, "
        "dead-lettering); or declare a queue of another name, bind it as this one is bound, let the consumers empty this "
        f"one, and delete it (apply --delete queue:{name})"
    ]


def plan_as_json(plan: Plan, declaration: str, *, everything: bool, view: object) -> dict[str, Any]:
    """For machines."""
    told: dict[str, Any] = {
        "ok": exit_code_of_plan(plan) is ExitCode.OK,
        "seen_by": "amqp" if view is None else "management",
        "counts": plan.counts(),
        "entries": [{**entry.as_json(), "recipe": recipes_of(entry, declaration)} for entry in plan.entries],
    }
    if everything:
        told["undeclared"] = [{"kind": kind, "name": name} for kind, name in plan.undeclared]
    return told


def exit_code_of_plan(plan: Plan) -> ExitCode:
    """0: nothing to do; 8: something differs, or is missing and not ours to add; 7: something is to be added."""
    counts = plan.counts()
    if counts["different"] or counts["missing"]:
        return ExitCode.DIFFERENCES
    return ExitCode.ADDITIONS if counts["add"] else ExitCode.OK


def _told(entry: Entry) -> str:
    from rmqpool.core.topology_plan import describe_binding
    from rmqpool.topology import Binding, Queue

    item = entry.item
    if isinstance(item, Binding):
        return f"binding {describe_binding(item)}"
    if entry.state != "add":
        return f"{'queue' if isinstance(item, Queue) else 'exchange'} {item.name}"
    arguments = ", ".join(f"{name}={_shown(value)}" for name, value in item.declare_arguments().items())
    if isinstance(item, Queue):
        return f"queue {item.name} ({arguments})"
    return f"exchange {item.name} ({', '.join(part for part in (item.type, arguments) if part)})"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)
