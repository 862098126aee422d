"""A worker with nothing to do: ``rmqpool worker benchmarks.clients.idle_worker:worker``."""

from __future__ import annotations

from rmqpool import Queue, Worker

QUEUE = "benchmark-idle"

worker = Worker("idle")


@worker.consumer(Queue(QUEUE, dead_letter=None))
def handle(body: bytes) -> None:
    """Never called: nobody publishes to this queue."""
