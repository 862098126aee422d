"""``rmqpool pool size``: how many channels or Postgres connections a pool needs, and whether they fit. Nothing is changed."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.options import JsonOption, TimeoutOption, UrlOption
from rmqpool.cli.terminal import print_json, print_line, print_table, styled
from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    from rmqpool.cli.pool_facts import Facts
    from rmqpool.core.sizing import Figure, Sizing

__all__ = ["Pooled", "register"]

_TIMEOUT = 10.0  # seconds to connect
_ANY = 1e-9  # seconds: a hold time in the place of one that is measured later
_TITLES = {
    "hold": "hold time (s)",
    "in_use": "in use on average",
    "for_the_rate": "enough for the rate",
    "no_deadlock": "no deadlock from",
    "never_more": "never more than",
    "size": "size",
    "channels_of_a_connection": "fit into a connection",
    "connections": "connections in all",
    "channels_of_an_agent": "channels of an agent",
    "files": "files of the broker",
    "free_connections": "free in Postgres",
    "share_of_an_instance": "room for an instance",
}


class Pooled(enum.StrEnum):
    """What is in the pool."""

    CHANNELS = "channels"
    POSTGRES = "postgres"


def register(group: typer.Typer) -> None:
    """Add the command to ``group``."""
    group.command("size")(size)


def size(
    what: Annotated[
        Pooled, typer.Argument(metavar="[channels|postgres]", help="What is in the pool.", show_default=True)
    ] = Pooled.CHANNELS,
    rate: Annotated[
        float | None, typer.Option(metavar="PER_SECOND", help="How often a second one instance takes one.")
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long each is held; otherwise round trips are measured."),
    ] = None,
    calls: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="With a measured hold time: round trips for each.")
    ] = 1,
    waits: Annotated[float, typer.Option(metavar="SHARE", help="The share of callers that may have to wait.")] = 0.01,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads or tasks of one instance that use the pool.")
    ] = None,
    each: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the resource a thread holds at once.")] = 1,
    instances: Annotated[
        int, typer.Option(metavar="N", min=1, help="Processes that have such a pool, on all machines.")
    ] = 1,
    channel_max: Annotated[
        int | None, typer.Option(metavar="N", min=2, max=65535, help="Instead of asking the broker.")
    ] = None,
    files: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The broker's limit of open files, instead of asking.")
    ] = None,
    queues: Annotated[int | None, typer.Option(metavar="N", min=0, help="Its queues, instead of asking.")] = None,
    max_connections: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Postgres' max_connections, instead of asking it.")
    ] = None,
    reserved: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Connections that Postgres keeps back, instead of asking.")
    ] = None,
    others: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Connections of other applications; otherwise those of other roles now."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody: only what the options say.")] = False,
    hosts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="The instances share an rmqpool agent on each of so many hosts; 1 for an agent:// URL.",
        ),
    ] = None,
    agent_connections: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of each agent for publishing, as its --connections says.")
    ] = 2,
    management_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The management API; otherwise http://HOST:15672.")
    ] = None,
    postgres: Annotated[
        str | None, typer.Option(metavar="URL", help="The database; otherwise RMQPOOL_POSTGRES_URL.")
    ] = None,
    url: UrlOption = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute how large a pool has to be, and say why.

    From the rate and the hold time (Little's law, Erlang's C formula), and from the threads (no deadlock). Then all
    instances are held against the server's limits: channel_max and open files, or max_connections. What is not given is
    asked: a round trip is measured, limits are read. Nothing is changed. Ends with 1 if it does not fit.

    \b
    Example:
      rmqpool pool size --rate 400 --hold 0.012 --threads 32 --instances 8
      rmqpool pool size postgres --rate 250 --calls 3 --threads 16 --instances 40
      rmqpool pool size --threads 20 --each 2 --offline
      rmqpool pool size --rate 5 --hold 0.01 --instances 400 --hosts 4 --offline
    """
    from rmqpool.cli import pool_facts
    from rmqpool.core.sizing import Agents, Demand, Figure, fit_broker, fit_postgres, size_of

    facts: Facts
    wants_hold = rate is not None and hold is None
    if offline and wants_hold:
        raise ConfigurationError("nobody is asked with --offline: give the hold time with --hold SECONDS")
    Demand(
        rate, _ANY if wants_hold else hold, waits, threads, each
    )  # what makes no sense is told before anybody is asked
    seconds = _TIMEOUT if timeout is None else timeout
    measured = calls if wants_hold else 0
    if what is Pooled.CHANNELS:
        facts = pool_facts.of_broker(url, management_url, seconds, measured, channel_max, files, queues, offline)
    else:
        facts = pool_facts.of_postgres(postgres, seconds, measured, max_connections, reserved, others, offline)
    sizing = size_of(Demand(rate, facts.hold if wants_hold else hold, waits, threads, each))
    if facts.broker is not None:
        agents = Agents(hosts or 1, agent_connections) if hosts is not None or facts.behind_agent else None
        sizing = fit_broker(sizing, facts.broker, instances, agents)
    if facts.postgres is not None:
        sizing = fit_postgres(sizing, facts.postgres, instances)
    first = (Figure("hold", facts.hold, facts.hold_because),) if facts.hold is not None else ()
    _show(what, sizing, first, facts.notes, as_json)
    if sizing.problems:
        raise typer.Exit(ExitCode.PROBLEMS)


def _show(what: Pooled, sizing: Sizing, first: tuple[Figure, ...], notes: tuple[str, ...], as_json: bool) -> None:
    figures = (*first, *sizing.figures)
    if as_json:
        print_json(
            {
                "ok": not sizing.problems,
                "pool": what,
                "size": sizing.size,
                "figures": [{"name": one.name, "value": one.value, "because": one.because} for one in figures],
                "problems": list(sizing.problems),
                "notes": list(notes),
            }
        )
        return
    print_table(("figure", "value", "because"), [_row(one) for one in figures], right=("value",))
    for note in notes:
        print_line(f"{styled('note', 'yellow')}: {note}")
    for problem in sizing.problems:
        print_line(f"{styled('problem', 'red')}: {problem}")


def _row(figure: Figure) -> tuple[str, str, str]:
    value = f"{figure.value:.4g}" if figure.value < 10_000 else f"{figure.value:,.0f}"
    return _TITLES.get(figure.name, figure.name), value, figure.because
