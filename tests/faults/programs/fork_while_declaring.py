"""Forks in the moment in which another thread holds what a first publish needs: the child must not wait for that thread.

fork_while_declaring URL QUEUE
"""

from __future__ import annotations

import os
import sys
import threading

from faults.programs.common import publish_numbered, tell
from rmqpool import ConnectionPool, NotSentError, Publisher, Queue


def main(url: str, queue: str) -> int:
    """The parent's first publish waits for a broker that is paused; the test lets it go on once the child was forked."""
    pool = ConnectionPool(url)
    pool.open()
    publisher = Publisher(pool, declare=[Queue(queue)])
    tell("open")
    sys.stdin.readline()  # the broker is paused now
    declaring = threading.Event()

    def publish() -> None:
        declaring.set()
        try:
            publisher.publish(queue, b"", message_id="parent", timeout=15)
        except NotSentError as error:
            tell("not-sent", text=str(error))
        else:
            tell("published", id="parent", outcome="confirmed")

    thread = threading.Thread(target=publish)
    thread.start()
    declaring.wait()
    while pool.stats().lease is None:  # the declaration has begun: the publisher's lock is held
        thread.join(0.01)
    process = os.fork()
    if process == 0:
        return 0 if publish_numbered(publisher, queue, "child", 3, timeout=10) == 3 else 1
    tell("forked")
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    thread.join()
    tell("parent", code=code)
    pool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
