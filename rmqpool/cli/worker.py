"""``rmqpool worker``: run a Worker until it is told to stop."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from rmqpool.cli.options import HealthOption, JsonOption, LogFormatOption, LogLevelOption, UrlOption, WorkerArgument

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
    log_format: LogFormatOption = None,
    log_level: LogLevelOption = "info",
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="Run so many processes, and replace those that end.")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Restart when a .py file changes, for development.")] = False,
    live_file: Annotated[
        Path | None, typer.Option("--live-file", metavar="FILE", help="Touched every second while it is alive.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", metavar="FILE", help="There while it is ready.")
    ] = None,
    health: HealthOption = None,
    ready_timeout: Annotated[
        float,
        typer.Option(min=0.1, max=86400.0, metavar="SECONDS", help="On SIGHUP: how long a new process may take."),
    ] = 60.0,
    hang_timeout: Annotated[
        float,
        typer.Option(min=0.0, max=86400.0, metavar="SECONDS", help="Replace a process that hangs so long; 0: never."),
    ] = 60.0,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import MODULE, find its WORKER and run it until SIGTERM or Ctrl-C.

    Logs go to stderr. It waits for a broker that is not there, but not for one that refuses it; with --burst neither.
    --json is --log-format json, and an error at the start is one object on stdout. A second signal ends it at once,
    with 130 or 143. --processes and --reload run it under a supervisor: SIGHUP replaces one process after the other.

    \b
    Examples:
      rmqpool worker workers.orders:worker --concurrency 8 --log-format json
      rmqpool worker workers.orders:worker --processes 4 --health 0.0.0.0:8080
      rmqpool worker workers.orders:worker --reload
    """
    from rmqpool.cli.failures import ReportedError, failure_of
    from rmqpool.cli.loading import load_worker, parse_path
    from rmqpool.cli.logs import set_up_logging
    from rmqpool.cli.session import load
    from rmqpool.cli.supervision import Asked, link_to_supervisor, report_health, supervise
    from rmqpool.cli.worker_facts import run_worker
    from rmqpool.errors import RmqpoolError
    from rmqpool.health.announcing import HealthOptions
    from rmqpool.worker.exits import end_process

    link = link_to_supervisor()
    given = "json" if as_json else log_format
    settings = load(url=url, concurrency=concurrency, prefetch=prefetch, grace=grace, log_format=given)
    connection = settings.connection()
    recent = set_up_logging(settings.log_format, log_level, secrets=[connection.password.reveal()])
    names = [name for text in queues or () for name in text.split(",") if name] or None
    told = HealthOptions(live_file, ready_file, health)
    try:
        if (processes is not None or reload) and link is None:
            parse_path(path)
            asked = Asked(path, names, burst, log_level, as_json, url, concurrency, prefetch, grace, given)
            end_process(supervise(asked, settings, told, processes or 1, reload, ready_timeout, hang_timeout))
        reporter = report_health(told, link)
        try:
            run_worker(load_worker(path), settings, names, burst=burst, reporter=reporter)
        finally:
            reporter.close()
    except RmqpoolError as error:
        failure = failure_of(error)
        if settings.log_format == "text" and recent.tell_of(failure.message):
            short = f"{path} ended: {failure.kind}, as told above"
            raise ReportedError(short, kind=failure.kind, exit_code=failure.exit_code) from None
        if as_json or settings.log_format == "text":
            raise
        extra = {"error": failure.kind, "detail": failure.detail}
        logging.getLogger("rmqpool").error("%s", failure.message, extra=extra)  # a stream of JSON lines stays one
        raise typer.Exit(failure.exit_code) from None
