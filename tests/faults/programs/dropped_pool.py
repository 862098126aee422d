"""A pool that is dropped without close(): it warns, its connections and threads end by themselves.

dropped_pool URL QUEUE
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import warnings

from faults.programs.common import publish_numbered, tell
from rmqpool import ConnectionPool, Publisher, Queue


def use_and_drop(url: str, queue: str) -> None:
    """Everything that holds the pool ends with this function."""
    pool = ConnectionPool(url)
    publish_numbered(Publisher(pool, declare=[Queue(queue)]), queue, "before", 5)
    with pool.channel() as channel:
        channel.queue_declare(queue, passive=True)
    tell("threads", names=[thread.name for thread in threading.enumerate()])


def main(url: str, queue: str) -> int:
    """Collects the garbage, and waits for the threads to end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use_and_drop(url, queue)
        deadline = time.monotonic() + 60
        while not caught and time.monotonic() < deadline:
            gc.collect()  # does nothing at all while another thread collects
    tell("warnings", categories=[w.category.__name__ for w in caught], texts=[str(w.message) for w in caught])
    deadline = time.monotonic() + 10
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
    tell("left", names=[thread.name for thread in threading.enumerate()])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
