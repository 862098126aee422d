"""kombu, on py-amqp."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import kombu

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.patience import PATIENCE
from benchmarks.clients.threads import publish_from_threads
from benchmarks.job import Job


def publish(job: Job, clock: Clock) -> int:
    """Each thread has a connection of its own; ``confirm_publish`` makes every call wait for its confirm."""
    body = job.body

    def prepare(stack: ExitStack) -> Callable[[], object]:
        connection = stack.enter_context(kombu.Connection(job.url, transport_options={"confirm_publish": True}))
        producer = connection.Producer()

        def publish_one() -> None:
            producer.publish(
                body,
                routing_key=job.queue,
                delivery_mode=2,
                mandatory=True,
                content_type="application/octet-stream",
                content_encoding="binary",
            )

        publish_one()
        return publish_one

    return publish_from_threads(job, clock, prepare)


def consume(job: Job, clock: Clock) -> None:
    """A Consumer, acknowledged in the callback."""
    tally = Tally(clock, job.count)

    def on_message(message: Any) -> None:
        message.ack()
        tally.count_one()

    with kombu.Connection(job.url) as connection:
        queue = kombu.Queue(job.queue, no_declare=True)
        with connection.Consumer(queue, on_message=on_message, prefetch_count=job.prefetch):
            while not tally.done.is_set():
                connection.drain_events(timeout=PATIENCE)
