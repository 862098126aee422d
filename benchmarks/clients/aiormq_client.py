"""aiormq on uvloop."""

from __future__ import annotations

import asyncio

import aiormq

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.gathering import gather_all, on_uvloop
from benchmarks.clients.patience import PATIENCE
from benchmarks.job import Job


def publish(job: Job, clock: Clock) -> int | None:
    """``gather`` of ``job.window`` publishes at a time."""

    async def run() -> int:
        connection = await aiormq.connect(job.url)
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        properties = aiormq.spec.Basic.Properties(delivery_mode=2, content_type="application/octet-stream")
        body = job.body
        await gather_all(
            job,
            clock,
            lambda: channel.basic_publish(body, routing_key=job.queue, properties=properties, mandatory=True),
        )
        await connection.close()
        return 1

    return on_uvloop(run())


def consume(job: Job, clock: Clock) -> None:
    """Acknowledged in the callback."""

    async def run() -> None:
        tally, done = Tally(clock, job.count), asyncio.Event()
        connection = await aiormq.connect(job.url)
        channel = await connection.channel()
        await channel.basic_qos(prefetch_count=job.prefetch)

        async def on_message(message: aiormq.abc.DeliveredMessage) -> None:
            await channel.basic_ack(message.delivery_tag)
            if tally.count_one():
                done.set()

        await channel.basic_consume(job.queue, on_message)
        await asyncio.wait_for(done.wait(), PATIENCE)
        await connection.close()

    on_uvloop(run())
