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
    from rmqpool.topology import Queue

    settings = load(url=url)
    worker = load_worker(path)
    consumers = describe_consumers(worker, settings)
    topology = topology_of_worker(worker)
    needs = [value.name for value in topology if isinstance(value, Queue) and value.passive]
    declares = [name for value in topology if (name := str(getattr(value, "name", value))) not in needs]
    if as_json:
        print_json({"ok": True, "worker": path, "consumers": consumers, "declares": declares, "needs": needs})
        return
    columns = ("queue", "handler", "concurrency", "prefetch", "body", "on error", "acknowledged")
    print_table(
        columns, [tuple(str(value) for value in row.values()) for row in consumers], right=("concurrency", "prefetch")
    )
    does = f"; it declares {', '.join(declares)}" if declares else ""
    must = f"; {', '.join(needs)} must be there" if needs else ""
    print_line(f"{path} is ready: {len(consumers)} consumer{'s' if len(consumers) != 1 else ''}{does}{must}")
