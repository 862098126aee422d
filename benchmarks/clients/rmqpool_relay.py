"""One relay in a process of its own: empties an outbox that was filled before, and tells how long that took.

``BENCHMARK_DATABASE`` is the URL of Postgres, ``BENCHMARK_RELAY`` JSON of the Relay's settings. With ``BENCHMARK_TIMES`` it
says "ready" when it owns its lanes, and tells when each message was confirmed, in seconds of the monotonic clock.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Sequence

from benchmarks.job import JOB_VARIABLE, Job
from rmqpool.outbox import Relay
from rmqpool.outbox.failing import Failing
from rmqpool.outbox.rows import Row

PATIENCE = 100.0  # seconds for all rows
POLL = 0.002  # seconds between two looks: what the window may be wrong by, at each end


def main() -> None:
    """Relay ``job.count`` rows. The window is from the first row read to the last one removed."""
    job = Job.from_json(os.environ.pop(JOB_VARIABLE))
    settings = json.loads(os.environ["BENCHMARK_RELAY"])
    times: dict[str, float] | None = {} if "BENCHMARK_TIMES" in os.environ else None
    if times is not None:
        note_confirms(times)
    relay = Relay(job.url, os.environ.pop("BENCHMARK_DATABASE"), **settings)
    deadline = time.monotonic() + PATIENCE
    began = cpu_before = 0.0
    with relay:
        while times is not None and not relay.stats().lanes:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the relay owns no lanes after {PATIENCE:g} s: {relay.stats().trouble}")
            time.sleep(POLL)
        if times is not None:
            print("ready", flush=True)
        while (stats := relay.stats()).removed < job.count:
            now = time.monotonic()
            if not began and stats.read:
                began, cpu_before = now, time.process_time()
            if now > deadline:
                raise TimeoutError(f"{stats.removed:,} of {job.count:,} rows were removed after {PATIENCE:g} s")
            time.sleep(POLL)
        ended, cpu_after = time.monotonic(), time.process_time()
    answer = {
        "messages": job.count,
        "seconds": ended - began,
        "cpu_seconds": cpu_after - cpu_before,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "statements": stats.statements,
        "confirmed": stats.confirmed,
        "sent_again": stats.sent_again,
        "times": times or {},
    }
    print(json.dumps(answer))


def note_confirms(times: dict[str, float]) -> None:
    """Note the moment of each confirm by message id."""
    confirmed = Failing.confirmed

    def noting(self: Failing, rows: Sequence[Row], now: float) -> None:
        at = time.monotonic()
        times.update((str(row.message_id), at) for row in rows)
        confirmed(self, rows, now)

    Failing.confirmed = noting  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
