"""``rmqpool agent``: share a few connections among many processes, until told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from rmqpool.cli.options import HealthOption, JsonOption, LogFormatOption, LogLevelOption, UrlOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("agent")(agent)


def agent(
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="The Unix socket to listen at: an absolute path.")
    ],
    connections: Annotated[int, typer.Option(min=1, max=64, help="Connections to the broker for publishing.")] = 2,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="OCTAL", help="The socket's permissions; otherwise 0600, with a group 0660.", show_default=False
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The socket's group: its members may connect.", show_default=False),
    ] = None,
    allow_user: Annotated[
        list[str] | None,
        typer.Option("--allow-user", metavar="NAME", help="This user may connect too; repeatable.", show_default=False),
    ] = None,
    allow_group: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-group", metavar="NAME", help="This group may connect too; repeatable.", show_default=False
        ),
    ] = None,
    max_clients: Annotated[int, typer.Option("--max-clients", min=1, max=100_000, help="Clients at most.")] = 1000,
    memory: Annotated[
        int, typer.Option(min=1, max=65536, metavar="MIB", help="What waits, in either direction, in MiB.")
    ] = 128,
    grace: Annotated[
        float | None,
        typer.Option(min=0.0, max=86400.0, metavar="SECONDS", help="How long to wait for confirms at the end."),
    ] = None,
    exchange_type: Annotated[
        list[str] | None,
        typer.Option(
            "--exchange-type",
            metavar="NAME",
            help="A plugin's, which clients may declare; repeatable.",
            show_default=False,
        ),
    ] = None,
    health: HealthOption = None,
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = "info",
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Listen at a Unix socket until SIGTERM or Ctrl-C; processes connect to it with agent:///PATH as their URL.

    Logs go to stderr. A broker that is not there is waited for; one that refuses it at the start (password, virtual host,
    TLS) ends it with 4. Consumers and leased channels have a connection each beside --connections, opened when needed. It
    ends with 0 when the broker has answered every publish that was forwarded, with 1 when not; a second signal ends it at
    once. Nothing confirmed is lost either way: what a client has no answer to, it publishes again, with the same message id.

    \b
    Examples:
      rmqpool agent --socket /run/rmqpool/agent.sock --url amqps://user:password@broker/shop
      rmqpool agent --socket /run/rmqpool/agent.sock --group www-data --max-clients 2000
    """
    from rmqpool.agent.agent import Agent
    from rmqpool.agent.fences import KNOWN_EXCHANGE_TYPES
    from rmqpool.agent.options import AgentOptions
    from rmqpool.agent.peers import group_id, user_id
    from rmqpool.agent.running import run_agent
    from rmqpool.cli.logs import set_up_logging
    from rmqpool.cli.session import load
    from rmqpool.health.announcing import HealthOptions

    settings = load(url=url, grace=grace, log_format="json" if as_json else log_format)
    connection = settings.connection()
    options = AgentOptions(
        socket,
        mode=None if mode is None else _mode(mode),
        group=None if group is None else group_id(group),
        users=frozenset(map(user_id, allow_user or ())),
        groups=frozenset(map(group_id, allow_group or ())),
        connections=connections,
        max_clients=max_clients,
        memory=memory * 2**20,
        grace=settings.grace,
        exchange_types=KNOWN_EXCHANGE_TYPES | {name.encode() for name in exchange_type or ()},
    )
    set_up_logging(settings.log_format, log_level, secrets=[connection.password.reveal()])
    if not run_agent(lambda: Agent(connection, options), HealthOptions(http=health)):
        raise typer.Exit(1)


def _mode(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise typer.BadParameter("give it in octal digits, such as 0660", param_hint="--mode") from None
