"""``python -m benchmarks.pools JOB``: do the job, given as JSON, and print one line of JSON about it."""

from __future__ import annotations

import dataclasses
import json
import sys

from benchmarks.pools.job import PoolJob
from benchmarks.pools.running import RUNS

OURS = ("rmqpool", "benchmarks")


def main() -> None:
    """A peer that is not installed is an answer, not a failure."""
    job = PoolJob(**json.loads(sys.argv[1]))
    try:
        run = RUNS[job.way, job.action](job)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(OURS):
            raise
        print(json.dumps({"missing": f"{error.name} is not installed"}))
        return
    print(json.dumps(dataclasses.asdict(run)))


if __name__ == "__main__":
    main()
