"""A writer in a process of its own: one message a transaction, on a schedule of its own; tells when each was committed.

``BENCHMARK_DATABASE`` is the URL of Postgres, ``BENCHMARK_RATE`` transactions a second.
"""

from __future__ import annotations

import json
import os
import time

import psycopg

from benchmarks.job import JOB_VARIABLE, Job
from rmqpool.outbox import Outbox


def main() -> None:
    """Commit ``job.count`` messages; prints the monotonic time (s) of each insert and commit by message id."""
    job = Job.from_json(os.environ.pop(JOB_VARIABLE))
    rate, outbox = float(os.environ["BENCHMARK_RATE"]), Outbox()
    inserted: dict[str, float] = {}
    committed: dict[str, float] = {}
    with psycopg.connect(os.environ.pop("BENCHMARK_DATABASE")) as connection:
        began = time.monotonic()
        for number in range(job.count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))  # the schedule, not a wait for something
            before = time.monotonic()
            (message_id,) = outbox.publish_many(connection, job.queue, [job.body])
            connection.commit()
            inserted[str(message_id)], committed[str(message_id)] = before, time.monotonic()
        ended = time.monotonic()
    print(json.dumps({"inserted": inserted, "committed": committed, "seconds": ended - began}))


if __name__ == "__main__":
    main()
