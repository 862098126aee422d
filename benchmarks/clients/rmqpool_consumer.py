"""rmqpool's low-level Consumer: acknowledges on the I/O thread, in the callback."""

from __future__ import annotations

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.patience import wait_for
from benchmarks.job import Job
from rmqpool import ConnectionPool, Consumer, Delivery


def consume(job: Job, clock: Clock) -> None:
    """Each delivery is acknowledged at once."""
    tally = Tally(clock, job.count)

    def on_delivery(delivery: Delivery) -> None:
        delivery.ack()
        tally.count_one()

    with ConnectionPool(job.url) as pool, Consumer(pool, job.queue, on_delivery, prefetch=job.prefetch) as consumer:
        wait_for(tally)
        consumer.cancel()
