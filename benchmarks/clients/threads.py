"""One thread that publishes, or many: all of them stand ready before the clock starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from urllib.parse import urlsplit

from benchmarks.clients.clock import Clock
from benchmarks.job import Job

__all__ = ["broker_connections", "publish_from_threads", "shares"]

PublishOne = Callable[[], object]


def publish_from_threads(job: Job, clock: Clock, prepare: Callable[[ExitStack], PublishOne]) -> int:
    """Publish ``job.count`` messages from ``job.threads`` threads; returns the connections to the broker meanwhile.

    ``prepare`` is called once for each thread: it opens what that thread needs (the stack closes it), publishes a first
    message, and returns what publishes one more. One thread is the calling one. The first error of a thread is raised.
    """
    with ExitStack() as stack:
        publishers = [prepare(stack) for _ in range(job.threads)]
        if job.threads == 1:
            with clock:
                _repeat(publishers[0], job.count)
        else:
            _all_at_once(publishers, shares(job.count, job.threads), clock)
        return broker_connections(job)


def shares(count: int, threads: int) -> list[int]:
    """``count`` messages in ``threads`` parts that differ by one at most."""
    return [count // threads + (index < count % threads) for index in range(threads)]


def broker_connections(job: Job) -> int:
    """How many TCP connections this process has to the broker's port now."""
    import psutil  # in the benchmarks' own environment only

    port = urlsplit(job.url).port
    found = psutil.Process().net_connections(kind="tcp")
    return sum(1 for one in found if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED)


def _all_at_once(publishers: list[PublishOne], counts: list[int], clock: Clock) -> None:
    start = threading.Event()

    def work(publish_one: PublishOne, count: int) -> None:
        start.wait()
        _repeat(publish_one, count)

    with ThreadPoolExecutor(len(publishers)) as threads:
        try:
            running = [threads.submit(work, one, count) for one, count in zip(publishers, counts, strict=True)]
            clock.start()
        finally:
            start.set()  # or the threads would wait for ever
        wait(running)
        clock.stop()
    for one in running:
        one.result()


def _repeat(publish_one: PublishOne, count: int) -> None:
    for _ in range(count):
        publish_one()
