"""amqpstorm, which needs another pamqp than aiormq and so a folder of its own."""

from __future__ import annotations

import amqpstorm

from benchmarks.clients.clock import Clock, Tally
from benchmarks.job import Job


def publish(job: Job, clock: Clock) -> int:
    """One at a time, every call waits for its confirm."""
    with amqpstorm.UriConnection(job.url) as connection, connection.channel() as channel:
        channel.confirm_deliveries()
        properties = {"delivery_mode": 2, "content_type": "application/octet-stream"}
        body = job.body

        def publish_one() -> None:
            if not channel.basic.publish(body, job.queue, properties=properties, mandatory=True):
                raise RuntimeError("a message was nacked")

        publish_one()
        with clock:
            for _ in range(job.count):
                publish_one()
        return 1


def consume(job: Job, clock: Clock) -> None:
    """Acknowledged in the callback."""
    tally = Tally(clock, job.count)
    with amqpstorm.UriConnection(job.url) as connection, connection.channel() as channel:

        def on_message(message: amqpstorm.Message) -> None:
            message.ack()
            if tally.count_one():
                channel.stop_consuming()

        channel.basic.qos(job.prefetch)
        channel.basic.consume(on_message, job.queue)
        channel.start_consuming()
