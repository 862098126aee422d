"""rmqpool's Publisher: one message at a time from any number of threads, and pipelined."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.clients.clock import Clock
from benchmarks.clients.threads import broker_connections, publish_from_threads
from benchmarks.job import Job
from rmqpool import ConnectionPool, Publisher, PublishFuture


def publish(job: Job, clock: Clock) -> int:
    """``publish`` from each thread: every call waits for its confirm. All threads share the pool."""
    body = job.body
    with ConnectionPool(job.url, publish_connections=job.connections) as pool:
        pool.open()
        publisher = Publisher(pool)

        def publish_one() -> None:
            publisher.publish(job.queue, body)

        def prepare(_: ExitStack) -> Callable[[], object]:
            publish_one()
            return publish_one

        return publish_from_threads(job, clock, prepare)


def submit(job: Job, clock: Clock) -> int:
    """``submit`` with ``job.window`` futures at most: when they are that many, the oldest one is waited for."""
    body = job.body
    with ConnectionPool(job.url, publish_connections=job.connections) as pool:
        pool.open()
        publisher = Publisher(pool)
        publisher.publish(job.queue, body)
        waiting: deque[PublishFuture] = deque()
        with clock:
            for _ in range(job.count):
                if len(waiting) >= job.window:
                    waiting.popleft().result()
                waiting.append(publisher.submit(job.queue, body))
            for future in waiting:
                future.result()
        return broker_connections(job)


def publish_many(job: Job, clock: Clock) -> int:
    """One ``publish_many``; the pool's window bounds the messages without a confirm."""
    bodies = [job.body] * job.count
    with ConnectionPool(job.url, publish_connections=job.connections, window=job.window) as pool:
        pool.open()
        publisher = Publisher(pool)
        publisher.publish(job.queue, job.body)
        with clock:
            report = publisher.publish_many(job.queue, bodies, timeout=60)
        report.raise_for_failures()
        return broker_connections(job)


def fill(job: Job, clock: Clock) -> None:
    """Messages for a consumer, where there is no C client to put them in."""
    with Publisher(job.url) as publisher, clock:
        publisher.publish_many(job.queue, [job.body] * job.count, timeout=60).raise_for_failures()
