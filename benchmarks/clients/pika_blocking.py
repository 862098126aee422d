"""pika's BlockingConnection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pika

from benchmarks.clients.clock import Clock, Tally
from benchmarks.clients.threads import publish_from_threads
from benchmarks.job import Job


def publish(job: Job, clock: Clock) -> int:
    """Each thread has a connection of its own; every call waits for its confirm."""
    body = job.body
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/octet-stream")

    def prepare(stack: ExitStack) -> Callable[[], object]:
        connection = pika.BlockingConnection(pika.URLParameters(job.url))
        stack.callback(connection.close)
        channel = connection.channel()
        channel.confirm_delivery()

        def publish_one() -> None:
            channel.basic_publish("", job.queue, body, properties, mandatory=True)

        publish_one()
        return publish_one

    return publish_from_threads(job, clock, prepare)


def consume(job: Job, clock: Clock) -> None:
    """``basic_consume``, acknowledged in the callback."""
    tally = Tally(clock, job.count)
    connection = pika.BlockingConnection(pika.URLParameters(job.url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=job.prefetch)

    def on_message(_: object, method: pika.spec.Basic.Deliver, __: object, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        if tally.count_one():
            channel.stop_consuming()

    channel.basic_consume(job.queue, on_message)
    channel.start_consuming()
    connection.close()
