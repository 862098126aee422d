"""pika's SelectConnection, pipelined by hand: what a patient user would write."""

from __future__ import annotations

from typing import Any

import pika

from benchmarks.clients.clock import Clock, Tally
from benchmarks.job import Job


def publish(job: Job, clock: Clock) -> int:
    """``job.window`` messages without a confirm at most; refilled when half of them are confirmed."""
    sender = _Sender(job, clock)
    _run(job, sender.on_channel)
    if sender.error:
        raise RuntimeError(sender.error)
    return 1


def consume(job: Job, clock: Clock) -> None:
    """Each delivery is acknowledged in its callback."""
    tally = Tally(clock, job.count)

    def on_channel(channel: Any) -> None:
        def on_message(_: object, method: pika.spec.Basic.Deliver, __: object, body: bytes) -> None:
            channel.basic_ack(method.delivery_tag)
            if tally.count_one():
                channel.connection.close()

        channel.basic_qos(prefetch_count=job.prefetch)
        channel.basic_consume(job.queue, on_message)

    _run(job, on_channel)


class _Sender:
    def __init__(self, job: Job, clock: Clock) -> None:
        self.job, self.clock, self.error = job, clock, ""
        self.sent = self.confirmed = 0
        self.goal = 1  # the first message goes alone, before the clock starts
        self.body = job.body
        self.properties = pika.BasicProperties(delivery_mode=2, content_type="application/octet-stream")

    def on_channel(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_return_callback(lambda *_: self.fail("a message was returned"))
        channel.confirm_delivery(self.on_confirm, callback=lambda _: self.send())

    def send(self) -> None:
        while self.sent < self.goal and self.sent - self.confirmed < self.job.window:
            self.channel.basic_publish("", self.job.queue, self.body, self.properties, mandatory=True)
            self.sent += 1

    def on_confirm(self, frame: Any) -> None:
        if not isinstance(frame.method, pika.spec.Basic.Ack):
            self.fail("a message was nacked")
            return
        tag = frame.method.delivery_tag
        # Without `multiple` a confirm may come out of order, so it is counted; with it, everything up to the tag is in.
        self.confirmed = max(self.confirmed, tag) if frame.method.multiple else self.confirmed + 1
        if self.confirmed == self.goal:
            self.on_goal()
        elif self.sent - self.confirmed <= self.job.window // 2:
            self.send()

    def on_goal(self) -> None:
        if self.goal == 1:
            self.goal += self.job.count
            self.clock.start()
            self.send()
        else:
            self.clock.stop()
            self.channel.connection.close()

    def fail(self, error: str) -> None:
        self.error = error
        self.channel.connection.close()


def _run(job: Job, on_channel: Any) -> None:
    """A connection with one channel, until somebody closes it."""
    connection = pika.SelectConnection(
        pika.URLParameters(job.url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
        on_close_callback=lambda connection, _: connection.ioloop.stop(),
    )
    connection.ioloop.start()
