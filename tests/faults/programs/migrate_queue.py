"""`rmqpool topology migrate` in a process of its own, that dies with SIGKILL when a step is done, or never.

Arguments: AMQP URL, management URL, queue, the step (or "never"), how often it is passed before, the window, and the
age of the API's figures in seconds.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys

from faults.programs.common import tell
from rmqpool import ConnectionPool
from rmqpool.cli.management import ManagementApi
from rmqpool.planning.migrating import Migration, MigrationOptions
from rmqpool.urls import parse_url


def main() -> None:
    url, management_url, queue, deadly, passes, window, figures_age = sys.argv[1:]
    passed = itertools.count()

    def on_step(step: str) -> None:
        if step == deadly and next(passed) >= int(passes):
            os.kill(os.getpid(), signal.SIGKILL)
        if step != "confirmed":
            tell("step", name=step)

    with ConnectionPool(url) as pool:
        view = ManagementApi(parse_url(url), management_url)
        options = MigrationOptions(window=int(window), figures_age=float(figures_age), timeout=40.0)
        report = Migration(pool, view, queue, options=options, on_step=on_step).run()
    tell("done", moved=report.moved, stages=[str(stage) for stage in report.stages])


if __name__ == "__main__":
    main()
