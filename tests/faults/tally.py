"""Submits messages to any target, takes down each outcome, and says whether anything was lost."""

from __future__ import annotations

import itertools
import time
from math import inf
from typing import Any

from faults.harness import Collector, drain, judge, until
from rmqpool import Confirmation, ConnectionPool, Publisher, PublishError, PublishFuture, Queue
from rmqpool.testing.checker import TotalQueueChecker, Verdict

__all__ = ["BURSTS", "BUSY", "Tally", "keep_busy"]

BUSY = 7.5  # seconds; with a heartbeat of 1 s more than pika's own checker waits (time-out + 5 s)
BURSTS = 4.0  # a second: no side is quiet for the half second after which it would send a heartbeat


class Tally:
    """The messages that one test submits, pipelined, each with an id of its own; not thread-safe."""

    def __init__(self, publisher: Publisher, prefix: str = "message") -> None:
        self.publisher = publisher
        self.checker = TotalQueueChecker()
        self._ids = (f"{prefix}-{number}" for number in itertools.count(1))
        self._open: list[PublishFuture] = []

    def submit(self, routing_key: str, *, exchange: str = "", **options: Any) -> PublishFuture:
        """Hand one message over; its body is its id."""
        message_id = next(self._ids)
        self.checker.record_attempt(message_id)
        future = self.publisher.submit_to(exchange, routing_key, message_id.encode(), message_id=message_id, **options)
        self._open.append(future)
        return future

    def publish(self, routing_key: str, *, exchange: str = "", **options: Any) -> Confirmation | PublishError:
        """Submit one message; its outcome, and those of all before it, are recorded."""
        self.submit(routing_key, exchange=exchange, **options)
        return self.outcomes()[-1]

    def outcomes(self) -> list[Confirmation | PublishError]:
        """The outcomes of what was submitted since the last call, in order; each ends by its own deadline."""
        futures, self._open = self._open, []
        outcomes = [future.outcome() for future in futures]
        for future, outcome in zip(futures, outcomes, strict=True):
            self.checker.record_publish(future.message.message_id, str(outcome.outcome))  # type: ignore[arg-type]
        return outcomes

    def verdict(self, url: str, queue: str) -> Verdict:
        """Drain ``queue`` and judge; AssertionError with the counts if anything was lost."""
        self.outcomes()
        drain(url, queue, self.checker)
        return judge(self.checker)


def keep_busy(pool: ConnectionPool, queue: str, seconds: float, bursts: float = inf) -> Verdict:
    """Publish and consume for ``seconds``: nothing is lost, and each connection is its first one to the end.

    500 messages at once, so that reads are large; at most so many ``bursts`` a second, or full load.
    """
    tally = Tally(Publisher(pool, declare=[Queue(queue)], timeout=60.0))
    tally.publish(queue)
    with Collector(pool, Queue(queue), tally.checker, prefetch=500):
        end = time.monotonic() + seconds
        while (begun := time.monotonic()) < end:
            for _ in range(500):
                tally.submit(queue)
            tally.outcomes()
            time.sleep(max(0.0, begun + 1 / bursts - time.monotonic()))
        until(lambda: tally.checker.missing() == 0, "every message", timeout=30.0)
        stats = pool.stats()
        used = [link for link in (*stats.publish, *stats.consume) if link.epoch]
        assert len(used) >= 2
        assert {link.epoch for link in used} == {1}, f"a busy connection was given up: {stats!r}"
    return judge(tally.checker)
