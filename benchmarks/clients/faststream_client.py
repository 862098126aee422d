"""FastStream's RabbitBroker (on aio-pika) on uvloop."""

from __future__ import annotations

import asyncio

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.gathering import gather_all, on_uvloop
from benchmarks.clients.patience import PATIENCE
from benchmarks.job import Job


def publish(job: Job, clock: Clock) -> int | None:
    """``gather`` of ``job.window`` calls of ``broker.publish`` at a time."""

    async def run() -> int:
        body = job.body
        async with RabbitBroker(job.url, default_channel=Channel(on_return_raises=True), logger=None) as broker:
            await gather_all(job, clock, lambda: broker.publish(body, job.queue, persist=True, mandatory=True))
        return 1

    return on_uvloop(run())


def consume(job: Job, clock: Clock) -> None:
    """A subscriber that does nothing; FastStream acknowledges after it returned."""

    async def run() -> None:
        tally, done = Tally(clock, job.count), asyncio.Event()
        broker = RabbitBroker(job.url, logger=None)

        @broker.subscriber(
            RabbitQueue(job.queue, declare=False, durable=True),
            channel=Channel(prefetch_count=job.prefetch),
            ack_policy=AckPolicy.NACK_ON_ERROR,
        )
        async def handle(body: bytes) -> None:
            if tally.count_one():
                done.set()

        await broker.start()
        await asyncio.wait_for(done.wait(), PATIENCE)
        await broker.stop()

    on_uvloop(run())
