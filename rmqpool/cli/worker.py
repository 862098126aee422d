"""``rmqpool worker``: run a Worker until it is told to stop."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import typer

from rmqpool.cli.options import JsonOption, UrlOption, WorkerArgument

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("worker")(worker)


def worker(
    path: WorkerArgument,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Messages handled at once, for each queue.")
    ] = None,
    prefetch: Annotated[
        int | None, typer.Option(min=1, max=2000, help="Messages held at most, for each queue.")
    ] = None,
    queues: Annotated[
        list[str] | None, typer.Option("--queues", metavar="NAME[,NAME]", help="Consume these queues only.")
    ] = None,
    burst: Annotated[bool, typer.Option("--burst", help="End when the queues are empty.")] = False,
    grace: Annotated[
        float | None,
        typer.Option(min=0.0, max=86400.0, metavar="SECONDS", help="How long to let handlers finish at the end."),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, typer.Option("--log-format", help="Lines for people, or JSON lines.")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="What is logged.")
    ] = "info",
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import MODULE, find its WORKER and run it until SIGTERM or Ctrl-C.

    Logs go to stderr. It waits for a broker that is not there, but not for one that refuses it; with --burst neither.
    --json is --log-format json, and an error at the start is one object on stdout. A second signal ends it at once,
    with 130 or 143.

    \b
    Example:
      rmqpool worker workers.orders:worker --concurrency 8 --log-format json
    """
    from rmqpool.cli.failures import ReportedError, failure_of
    from rmqpool.cli.loading import load_worker
    from rmqpool.cli.logs import set_up_logging
    from rmqpool.cli.session import load
    from rmqpool.cli.worker_facts import run_worker
    from rmqpool.errors import RmqpoolError

    given = "json" if as_json else log_format
    settings = load(url=url, concurrency=concurrency, prefetch=prefetch, grace=grace, log_format=given)
    connection = settings.connection()
    recent = set_up_logging(settings.log_format, log_level, secrets=[connection.password.reveal()])
    names = [name for text in queues or () for name in text.split(",") if name] or None
    try:
        run_worker(load_worker(path), settings, names, burst=burst)
    except RmqpoolError as error:
        told = failure_of(error)
        if settings.log_format == "text" and recent.tell_of(told.message):
            short = f"{path} ended: {told.kind}, as told above"
            raise ReportedError(short, kind=told.kind, exit_code=told.exit_code) from None
        if as_json or settings.log_format == "text":
            raise
        extra = {"error": told.kind, "detail": told.detail}
        logging.getLogger("rmqpool").error("%s", told.message, extra=extra)  # a stream of JSON lines stays one
        raise typer.Exit(told.exit_code) from None
