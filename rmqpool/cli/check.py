"""``rmqpool check``: would this worker start? Offline."""

from __future__ import annotations

import typer

from rmqpool.cli.options import JsonOption, UrlOption, WorkerArgument
from rmqpool.cli.session import load
from rmqpool.cli.terminal import print_json, print_line, print_table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("check")(check)


def check(path: WorkerArgument, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Check settings, import the module and list the worker's consumers, without a broker.

    \b
    Example:
      rmqpool check workers.orders:worker
    """
    from rmqpool.cli.loading import load_worker
    from rmqpool.cli.worker_facts import describe_consumers, topology_of_worker

    settings = load(url=url)
    worker = load_worker(path)
    consumers = describe_consumers(worker, settings)
    topology = [str(getattr(value, "name", value)) for value in topology_of_worker(worker)]
    if as_json:
        print_json({"ok": True, "worker": path, "consumers": consumers, "declares": topology})
        return
    columns = ("queue", "handler", "concurrency", "prefetch", "body", "on error", "acknowledged")
    print_table(
        columns, [tuple(str(value) for value in row.values()) for row in consumers], right=("concurrency", "prefetch")
    )
    print_line(
        f"{path} is ready: {len(consumers)} consumer{'s' if len(consumers) != 1 else ''}; it declares {', '.join(topology)}"
    )
