"""``python -m benchmarks.clients``: run the job of the environment and print one line of JSON about it.

The line comes last, after everything was closed: without it the run has failed.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable

from benchmarks.clients.clock import Clock, peak_memory
from benchmarks.job import JOB_VARIABLE, Job

OURS = ("rmqpool", "benchmarks")


def main() -> None:
    """Run the client; a peer that is not installed is an answer, not a failure."""
    job = Job.from_json(os.environ.pop(JOB_VARIABLE))
    try:
        module = importlib.import_module(f"benchmarks.clients.{job.client}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(OURS):
            raise
        print(json.dumps({"missing": f"{error.name} is not installed"}))
        return
    clock = Clock()
    run: Callable[[Job, Clock], int | None] = getattr(module, job.action)
    connections = run(job, clock)
    answer = {
        "messages": job.count,
        "seconds": clock.seconds,
        "cpu_seconds": clock.cpu_seconds,
        "peak_bytes": peak_memory(),
        "connections": connections,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
