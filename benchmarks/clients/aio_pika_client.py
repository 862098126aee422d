"""aio-pika on uvloop."""

from __future__ import annotations

import asyncio

import aio_pika

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.gathering import gather_all, on_uvloop
from benchmarks.clients.patience import PATIENCE
from benchmarks.job import Job


def publish(job: Job, clock: Clock) -> int | None:
    """``gather`` of ``job.window`` publishes at a time; mandatory and with a message_id are aio-pika's own defaults."""

    async def run() -> int:
        connection = await aio_pika.connect(job.url)
        async with connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            message = aio_pika.Message(
                job.body,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                content_type="application/octet-stream",
            )
            exchange = channel.default_exchange
            await gather_all(job, clock, lambda: exchange.publish(message, job.queue))
        return 1

    return on_uvloop(run())


def consume(job: Job, clock: Clock) -> None:
    """A callback consumer, acknowledged in the callback."""

    async def run() -> None:
        tally, done = Tally(clock, job.count), asyncio.Event()
        connection = await aio_pika.connect(job.url)
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=job.prefetch)
            queue = await channel.get_queue(job.queue)

            async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                await message.ack()
                if tally.count_one():
                    done.set()

            await queue.consume(on_message)
            await asyncio.wait_for(done.wait(), PATIENCE)

    on_uvloop(run())
