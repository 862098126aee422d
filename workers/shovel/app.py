"""The shovel: a message is acknowledged at its source after its copy was confirmed at the destination, never before."""

from __future__ import annotations

import asyncio
import time

from rmqpool import ConnectionSettings, Delivery, Queue, Reject, Worker, parse_url
from rmqpool.cli.publishing.pacing import Pacer
from rmqpool.errors import ConfigurationError, DecodeError, MessageError
from workers.shovel.copies import copy_of
from workers.shovel.destination import Destination
from workers.shovel.settings import PREFIX, ShovelSettings

__all__ = ["make_worker", "refuse_a_circle"]


def make_worker(settings: ShovelSettings) -> Worker:
    """The worker for these settings."""
    worker = Worker("shovel")
    destination = Destination(settings)
    worker.add_service(destination)
    pacer = Pacer(settings.rate)
    source = Queue(settings.from_queue, passive=True)  # somebody else's: of any type, with any arguments

    @worker.consumer(
        source,
        concurrency=settings.at_once,
        prefetch=settings.at_once,
        reply="failure",  # whoever handles the copy answers; of one that is parked here nobody else would tell
        overdue="requeue",  # it is not to blame for a destination that is away
    )
    async def move(delivery: Delivery) -> None:
        """At least once: after a crash, up to ``window`` messages are moved a second time, with the same message_id."""
        delay = pacer.delay(time.monotonic())
        if delay > 0:
            await asyncio.sleep(delay)
        key = settings.to_queue or settings.to_routing_key
        try:
            copy = copy_of(
                delivery,
                settings.to_exchange or "",
                delivery.original_routing_key if key is None else key,
                destination.user,
            )
        except (MessageError, DecodeError) as error:
            raise Reject(f"it cannot be copied: {error}") from error
        await destination.deliver(copy, lambda: not delivery.settled)

    return worker


def refuse_a_circle(settings: ShovelSettings, source: ConnectionSettings) -> None:
    """Raises ConfigurationError if the shovel would move messages from a queue into itself."""
    target = parse_url(settings.to_url.reveal())
    if settings.to_queue == settings.from_queue and (target.hosts, target.vhost) == (source.hosts, source.vhost):
        raise ConfigurationError(
            f"{PREFIX}TO_QUEUE: messages would go from {settings.from_queue!r} into itself, for ever; name another queue, "
            f"or another virtual host in {PREFIX}TO_URL"
        )
