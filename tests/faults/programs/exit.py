"""Ends in the middle of publishing, in one of several ways.

exit URL QUEUE WAY
"""

from __future__ import annotations

import atexit
import sys
import threading

from faults.programs.common import publish_numbered, tell
from rmqpool import ConnectionPool, Publisher, PublishFuture, Queue

MESSAGES = 500
POOL: list[ConnectionPool] = []


def told(future: PublishFuture) -> None:
    """The outcome of a message that nobody waits for."""
    outcome = future.outcome(0)
    tell("published", id=future.message.message_id, outcome=str(outcome.outcome), text=str(outcome))


def submit(publisher: Publisher, queue: str) -> None:
    """Messages that are still on their way when this returns."""
    for number in range(MESSAGES):
        publisher.submit(queue, b"x" * 1000, message_id=f"flying-{number}").add_done_callback(told)


def in_a_thread(publisher: Publisher, queue: str) -> None:
    """sys.exit ends that thread only."""

    def run() -> None:
        submit(publisher, queue)
        sys.exit(7)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def main(url: str, queue: str, way: str) -> None:
    """WAY is atexit, return, sys-exit, thread-exit, exception, or wait (for a line on stdin, then return)."""
    pool = ConnectionPool(url)
    POOL.append(pool)  # a module's global: it lives to the interpreter's very end
    publisher = Publisher(pool, declare=[Queue(queue)])
    publish_numbered(publisher, queue, "before", 3)
    if way == "atexit":
        atexit.register(publish_numbered, publisher, queue, "at-exit", 3, 5.0)
        return
    if way == "wait":
        tell("ready")
        sys.stdin.readline()
    if way == "thread-exit":
        in_a_thread(publisher, queue)
    else:
        submit(publisher, queue)
    if way == "sys-exit":
        sys.exit(3)
    if way == "exception":
        raise RuntimeError("the application's own error")


if __name__ == "__main__":
    main(*sys.argv[1:4])
