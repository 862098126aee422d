"""Queues of the benchmark: a new one for each run, and what must be in it before and after.

The parent uses pika for this, whatever is measured. The counts are the check that no client skipped a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pika

from benchmarks.job import QueueType
from rmqpool import Queue
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.waiting import wait_until

__all__ = ["Queues", "WrongCountError"]

_TIMEOUT = 20.0  # seconds
_DRAMATIQ_ENDINGS = (".DQ", ".XQ")  # the queues that dramatiq makes beside each


class WrongCountError(Exception):
    """A queue holds another number of messages than it should: a client lost, doubled or kept some."""


class Queues:
    """The queues of one broker. Not thread-safe; every call opens a connection of its own, since a run takes long."""

    def __init__(self, url: str) -> None:
        self._parameters = pika.URLParameters(url)

    def declare(self, name: str, queue_type: QueueType) -> None:
        """Declare a durable queue as rmqpool would, without dead-lettering: the same for every client."""
        arguments = Queue(name, type=queue_type, dead_letter=None).declare_arguments()
        with self._channel() as channel:
            channel.queue_declare(name, durable=True, arguments=arguments)

    def delete(self, name: str) -> None:
        """Delete the queue and what clients made beside it."""
        with self._channel() as channel:
            for ending in ("", *_DRAMATIQ_ENDINGS):
                channel.queue_delete(name + ending)

    def expect(self, name: str, at_least: int, at_most: int) -> None:
        """Wait until the queue has no consumer and as many messages. WrongCountError if that does not come."""
        with self._channel() as channel:

            def is_so() -> bool:
                found = channel.queue_declare(name, passive=True).method
                return bool(at_least <= found.message_count <= at_most and found.consumer_count == 0)

            try:
                wait_until(is_so, "the expected number of messages", timeout=_TIMEOUT, interval=0.05)
            except ServicesError:
                found = channel.queue_declare(name, passive=True).method
                raise WrongCountError(
                    f"the queue should hold {at_least:,} to {at_most:,} messages and no consumer, and holds "
                    f"{found.message_count:,} and {found.consumer_count}"
                ) from None

    @contextmanager
    def _channel(self) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
        connection = pika.BlockingConnection(self._parameters)
        try:
            yield connection.channel()
        finally:
            if connection.is_open:
                connection.close()
