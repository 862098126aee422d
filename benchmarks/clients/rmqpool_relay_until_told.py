"""A relay in a process of its own, beside others or beside writers: runs until SIGTERM, and tells what it did meanwhile.

``BENCHMARK_DATABASE`` is the URL of Postgres, ``BENCHMARK_RELAY`` JSON of the Relay's settings, ``BENCHMARK_LANES`` how many
lanes it must own before it says "ready".
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time

from benchmarks.clients.clock import peak_memory
from benchmarks.job import JOB_VARIABLE, Job
from rmqpool.outbox import Relay

PATIENCE = 100.0  # seconds for its lanes, and for everything after them
POLL = 0.002  # seconds between two looks: what the window may be wrong by, at each end


def main() -> None:
    """Relay what comes. ``began`` and ``ended`` are when it had read its first row and removed its last one.

    Both are on the machine's monotonic clock, which all its processes share; None without a row.
    """
    job = Job.from_json(os.environ.pop(JOB_VARIABLE))
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    settings = json.loads(os.environ["BENCHMARK_RELAY"])
    began: tuple[float, float] | None = None
    ended: tuple[float, float] | None = None
    removed = 0
    with Relay(job.url, os.environ.pop("BENCHMARK_DATABASE"), **settings) as relay:
        _wait_for_lanes(relay, int(os.environ["BENCHMARK_LANES"]))
        print("ready", flush=True)
        deadline = time.monotonic() + PATIENCE
        while not told.wait(POLL):
            stats, now = relay.stats(), (time.monotonic(), time.process_time())
            if began is None and stats.read:
                began = now
            if stats.removed > removed:
                removed, ended = stats.removed, now
            if now[0] > deadline:
                raise TimeoutError(f"nobody told the relay to end within {PATIENCE:g} s; {removed:,} rows were removed")
    answer = {
        "removed": removed,
        "began": began and began[0],
        "ended": ended and ended[0],
        "cpu_seconds": ended[1] - began[1] if began and ended else 0.0,
        "peak_bytes": peak_memory(),
    }
    print(json.dumps(answer))


def _wait_for_lanes(relay: Relay, lanes: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (stats := relay.stats()).lanes != lanes:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"the relay owns {stats.lanes} lanes, not {lanes}, after {PATIENCE:g} s: {stats.trouble}"
            )
        time.sleep(POLL)


if __name__ == "__main__":
    main()
