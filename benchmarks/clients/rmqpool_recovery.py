"""Two pools live through restarts of their broker; this program sees when the broker is back, and when they are.

One message waits on the first pool all the time. The second pool gets one only when the broker accepts connections: a
fresh publish, which has to cut a running back-off short.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from queue import Queue

import pika
from pika.exceptions import AMQPError

from benchmarks.job import JOB_VARIABLE, Job
from rmqpool import ConnectionPool, Publisher, PublishFuture

PATIENCE = 90.0  # seconds for a broker to go, and to come back
POLL = 0.02  # seconds between two looks


def main() -> None:
    """``job.count`` restarts; a line ``watching`` before each tells the parent to begin."""
    job = Job.from_json(os.environ.pop(JOB_VARIABLE))
    parameters = pika.URLParameters(job.url)
    parameters.connection_attempts, parameters.socket_timeout, parameters.stack_timeout = 1, 2, 2
    lived_through, fresh = [], []
    with ConnectionPool(job.url, timeout=PATIENCE) as patient, ConnectionPool(job.url, timeout=PATIENCE) as second:
        waiting, late = Publisher(patient), Publisher(second)
        for publisher in (waiting, late):
            publisher.publish(job.queue, job.body)
        cap = patient.settings.reconnect_max_delay
        for _ in range(job.count):
            print("watching", flush=True)
            _poll(lambda: not _accepts(parameters), "the broker to go")
            confirmed_at: Queue[float] = Queue()
            waiting.submit(job.queue, job.body).add_done_callback(partial(_note_time, confirmed_at))
            _poll(lambda: _accepts(parameters), "the broker to come back")
            accepted = time.monotonic()
            late.publish(job.queue, job.body)
            fresh.append(time.monotonic() - accepted)
            lived_through.append(confirmed_at.get(timeout=PATIENCE) - accepted)
    print(json.dumps({"cap": cap, "lived_through": lived_through, "fresh": fresh}))


def _note_time(confirmed_at: Queue[float], future: PublishFuture) -> None:
    future.result()  # its error, if it has one, goes to the log, and nothing comes out of the queue
    confirmed_at.put(time.monotonic())


def _accepts(parameters: pika.URLParameters) -> bool:
    """Whether a connection can be opened, the AMQP handshake included."""
    try:
        pika.BlockingConnection(parameters).close()
    except (AMQPError, OSError):
        return False
    return True


def _poll(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain for {what}")
        time.sleep(POLL)


if __name__ == "__main__":
    main()
