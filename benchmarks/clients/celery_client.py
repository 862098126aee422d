"""Celery: tasks that do nothing, acknowledged late (after they returned)."""

from __future__ import annotations

from typing import Any

import celery
from celery.signals import worker_ready
from celery.worker import state
from kombu import Queue

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.patience import PATIENCE
from benchmarks.job import Job
from rmqpool.testing.waiting import wait_until

THREADS = 8
_LOOK = 0.1  # seconds; otherwise the loop may sleep for ten before it ends


def publish(job: Job, clock: Clock) -> int:
    """``apply_async`` one at a time; ``confirm_publish`` makes every call wait for its confirm."""
    app = _app(job, confirm=True)
    task = _task(app)
    body = job.body.decode()
    task.apply_async((body,), queue=job.queue)
    with clock:
        for _ in range(job.count):
            task.apply_async((body,), queue=job.queue)
    app.close()
    return 1


def fill(job: Job, clock: Clock) -> None:
    """Messages for a worker to consume; not measured, so not confirmed one by one.

    The channel stays open until all of them are in the queue: what is unconfirmed then could be lost.
    """
    app = _app(job, confirm=False)
    task = _task(app)
    body = job.body.decode()
    with clock, app.producer_pool.acquire(block=True) as producer:
        for _ in range(job.count):
            task.apply_async((body,), queue=job.queue, producer=producer)
        channel = producer.channel
        wait_until(
            lambda: channel.queue_declare(job.queue, passive=True).message_count >= job.count,
            f"{job.count} messages in the queue",
            timeout=PATIENCE,
            interval=0.05,
        )
    app.close()


def consume_solo(job: Job, clock: Clock) -> None:
    """A worker with the solo pool."""
    _consume(job, clock, "solo", 1)


def consume_threads(job: Job, clock: Clock) -> None:
    """A worker with the threads pool."""
    _consume(job, clock, "threads", THREADS)


def _consume(job: Job, clock: Clock, pool: str, concurrency: int) -> None:
    app = _app(job, confirm=False)
    app.conf.worker_prefetch_multiplier = job.prefetch // concurrency
    tally = Tally(clock, job.count)

    def on_task(body: str) -> None:
        if tally.count_one():
            state.should_stop = 0  # the exit code: the worker ends in good order, and acknowledges what is left

    @worker_ready.connect(weak=False)
    def on_ready(sender: Any, **_: object) -> None:
        sender.timer.call_repeatedly(_LOOK, lambda: None)  # its loop looks for should_stop when it wakes up

    app.task(name="benchmark")(on_task)
    worker = app.Worker(
        pool=pool,
        concurrency=concurrency,
        queues=[job.queue],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="ERROR",
        quiet=True,
    )
    worker.start()


def _app(job: Job, *, confirm: bool) -> celery.Celery:
    app = celery.Celery("benchmark", broker=job.url, set_as_current=True)
    arguments = {"x-queue-type": job.queue_type}
    app.conf.update(
        task_queues=[Queue(job.queue, routing_key=job.queue, queue_arguments=arguments, no_declare=True)],
        task_default_queue=job.queue,
        task_default_exchange="",
        task_default_routing_key=job.queue,
        task_acks_late=True,
        task_ignore_result=True,
        task_publish_retry=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # the result goes to stdout
        broker_transport_options={"confirm_publish": confirm},
    )
    return app


def _task(app: celery.Celery) -> celery.Task:
    return app.task(name="benchmark")(_do_nothing)


def _do_nothing(body: str) -> None:
    """Only published here; it is run by whoever consumes."""
