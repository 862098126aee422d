"""A prefork server in small: the parent opens the pool and uses it, forks children that use it too, and goes on.

prefork URL QUEUE CHILDREN
"""

from __future__ import annotations

import os
import sys
import threading

from faults.programs.common import publish_numbered, tell
from rmqpool import ConnectionPool, LeasedChannel, Publisher, PublishFuture, Queue, RmqpoolError

MESSAGES = 30


def child(number: int, publisher: Publisher, queue: str, inherited: list[PublishFuture], lease: LeasedChannel) -> None:
    """What a forked worker does with what it inherited."""
    for future in inherited:
        tell("inherited", error=type(future.exception(timeout=1.0)).__name__)
    try:
        lease.queue_declare(queue, passive=True, timeout=1.0)
    except RmqpoolError as error:
        tell("inherited-lease", error=type(error).__name__)
    publish_numbered(publisher, queue, f"child-{number}", MESSAGES)
    with publisher.pool.channel(timeout=10) as channel:
        tell("leased", consumers=channel.queue_declare(queue, passive=True).consumer_count)
    report = publisher.publish_many(queue, [b""] * MESSAGES)
    tell("many", counts={str(outcome): count for outcome, count in report.counts().items()})


def parent(url: str, queue: str, children: int) -> int:
    """Publishes before, between and after the forks, also on threads that run while it forks."""
    pool = ConnectionPool(url, name="parent")
    publisher = Publisher(pool, declare=[Queue(queue)])
    publish_numbered(publisher, queue, "parent-before", MESSAGES)
    lease = pool.channel()
    stop = threading.Event()
    busy = [
        threading.Thread(target=_publish_until, args=(stop, publisher, queue, f"thread-{number}"))
        for number in range(3)
    ]
    for thread in busy:
        thread.start()
    processes = []
    for number in range(children):
        inherited = [publisher.submit(queue, b"", message_id=f"inherited-{number}-{index}") for index in range(20)]
        process = os.fork()
        if process == 0:
            child(number, publisher, queue, [future for future in inherited if not future.done()], lease)
            return 0  # the interpreter ends as usual: what the pool does at exit runs here too
        processes.append(process)
        for future in inherited:
            tell("published", id=future.message.message_id, outcome=str(future.outcome().outcome))
    publish_numbered(publisher, queue, "parent-between", MESSAGES)
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    stop.set()
    for thread in busy:
        thread.join()
    publish_numbered(publisher, queue, "parent-after", MESSAGES)
    tell("parent", codes=codes, epoch=pool.stats().publish[0].epoch, lease=lease.is_open)
    lease.queue_declare(queue, passive=True)
    lease.release()
    return 0 if pool.close() else 1


def _publish_until(stop: threading.Event, publisher: Publisher, queue: str, prefix: str) -> None:
    number = 0
    while not stop.is_set():
        publish_numbered(publisher, queue, f"{prefix}-{number}", 5)
        number += 1


if __name__ == "__main__":
    sys.exit(parent(sys.argv[1], sys.argv[2], int(sys.argv[3])))
