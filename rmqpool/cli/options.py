"""Options that several commands share: one name, one meaning, one help text."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = [
    "HealthOption",
    "JsonOption",
    "LogFormatOption",
    "LogLevelOption",
    "TimeoutOption",
    "UrlOption",
    "WorkerArgument",
]

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Where the broker is: amqp://user:password@host:5672/virtual-host. "
        "Otherwise RMQPOOL_URL, [tool.rmqpool] in pyproject.toml, or the local broker.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, errors too.", show_default=False)
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.01, max=86400.0, help="How long to wait at most.", show_default=False
    ),
]
WorkerArgument = Annotated[
    str, typer.Argument(metavar="MODULE:WORKER", help="Where the Worker is, such as workers.orders:worker.")
]
# Of what runs until it is told to stop
HealthOption = Annotated[
    str | None, typer.Option("--health", metavar="HOST:PORT", help="Answer /live and /ready over HTTP.")
]
LogFormatOption = Annotated[
    Literal["text", "json"] | None, typer.Option("--log-format", help="Lines for people, or JSON lines.")
]
LogLevelOption = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="What is logged.")
]
