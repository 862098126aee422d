"""dramatiq on RabbitMQ: actors that do nothing. It declares its own queues, and they are classic ones."""

from __future__ import annotations

from collections.abc import Callable

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.patience import wait_for
from benchmarks.job import Job

THREADS = 8


def publish(job: Job, clock: Clock) -> int:
    """``actor.send`` one at a time, every call waits for its confirm."""
    broker, actor = _actor(job, _do_nothing, confirm=True)
    body = job.body.decode()
    actor.send(body)
    with clock:
        for _ in range(job.count):
            actor.send(body)
    broker.close()
    return 1


def fill(job: Job, clock: Clock) -> None:
    """Messages for a worker to consume; not measured, so not confirmed."""
    broker, actor = _actor(job, _do_nothing, confirm=False)
    body = job.body.decode()
    with clock:
        for _ in range(job.count):
            actor.send(body)
    broker.close()


def consume(job: Job, clock: Clock) -> None:
    """A worker with eight threads; dramatiq acknowledges after the actor returned."""
    tally = Tally(clock, job.count)
    broker, _ = _actor(job, lambda _: _counted(tally), confirm=False)
    worker = dramatiq.Worker(broker, worker_threads=THREADS)
    worker.queue_prefetch = job.prefetch
    worker.start()
    try:
        wait_for(tally)
    finally:
        worker.stop()
        broker.close()


def _actor(job: Job, function: Callable[[str], None], *, confirm: bool) -> tuple[RabbitmqBroker, dramatiq.Actor]:
    broker = RabbitmqBroker(url=job.url, confirm_delivery=confirm)
    dramatiq.set_broker(broker)
    return broker, dramatiq.actor(function, actor_name="benchmark", queue_name=job.queue, max_retries=0)


def _counted(tally: Tally) -> None:
    tally.count_one()  # an actor's result would be logged


def _do_nothing(body: str) -> None:
    """Only published here; it is run by whoever consumes."""
