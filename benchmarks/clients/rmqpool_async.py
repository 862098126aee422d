"""rmqpool's AsyncPublisher, with ``gather``."""

from __future__ import annotations

from benchmarks.clients.clock import Clock
from benchmarks.clients.gathering import gather_all, on_uvloop
from benchmarks.clients.threads import broker_connections
from benchmarks.job import Job
from rmqpool import AsyncPublisher


def publish(job: Job, clock: Clock) -> int | None:
    """``gather`` of ``job.window`` publishes at a time."""

    async def run() -> int:
        body = job.body
        async with AsyncPublisher(job.url) as publisher:
            await gather_all(job, clock, lambda: publisher.publish(job.queue, body))
            return broker_connections(job)

    return on_uvloop(run())
