"""rmqpool's Worker with a handler that does nothing: acknowledged after it returned."""

from __future__ import annotations

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.patience import wait_for
from benchmarks.job import Job
from rmqpool import Queue, Worker


def consume(job: Job, clock: Clock) -> None:
    """A ``def`` handler, one at a time."""
    tally = Tally(clock, job.count)
    worker = Worker("benchmark", job.url)

    @worker.consumer(_queue(job), concurrency=1, prefetch=job.prefetch)
    def handle(body: bytes) -> None:
        tally.count_one()

    _run(worker, tally)


def consume_async(job: Job, clock: Clock) -> None:
    """An ``async def`` handler; as many at once as there are messages prefetched, as the asyncio peers do."""
    tally = Tally(clock, job.count)
    worker = Worker("benchmark", job.url)

    @worker.consumer(_queue(job), concurrency=job.prefetch, prefetch=job.prefetch)
    async def handle(body: bytes) -> None:
        tally.count_one()

    _run(worker, tally)


def _queue(job: Job) -> Queue:
    return Queue(job.queue, type=job.queue_type, dead_letter=None)


def _run(worker: Worker, tally: Tally) -> None:
    worker.start()
    try:
        wait_for(tally)
    finally:
        clean = worker.stop(grace=10)
    stats = worker.stats()
    if not clean or stats.failed:
        raise RuntimeError(f"the worker did not end in good order: {stats}")
