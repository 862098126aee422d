"""Adds what a plan says is to be added, in order, and deletes what was named; nothing else is touched."""

from __future__ import annotations

from rmqpool.core.topology_facts import QUEUE_TYPE
from rmqpool.errors import NotFoundError, PreconditionFailedError
from rmqpool.pool import ConnectionPool
from rmqpool.topology import Exchange, Queue, Topology

__all__ = ["add", "delete_exchange", "delete_queue"]


def add(pool: ConnectionPool, item: Topology) -> None:
    """Declare one value, or bind. Raises TopologyMismatchError, AccessRefusedError, NotFoundError."""
    with pool.channel() as channel:
        if isinstance(item, Queue):
            channel.queue_declare(item)
        elif isinstance(item, Exchange):
            channel.exchange_declare(
                item.name,
                item.type,
                durable=item.durable,
                auto_delete=item.auto_delete,
                internal=item.internal,
                arguments=item.declare_arguments(),
            )
        else:
            bind = channel.queue_bind if item.destination_type == "queue" else channel.exchange_bind
            bind(item.destination, item.source, item.routing_key, item.declare_arguments())


def delete_queue(
    pool: ConnectionPool, name: str, properties: dict[str, object], held: int, *, even_if_not_empty: bool
) -> None:
    """Delete a queue that nobody consumes, with ``even_if_not_empty`` also one that has messages.

    ``properties`` are those of the queue, ``held`` its unacknowledged messages. Only classic queues are deleted
    by the broker on these conditions; of other types they are looked at right before. Raises PreconditionFailedError with
    what is in the way, NotFoundError.
    """
    classic = properties.get(QUEUE_TYPE) == "classic"
    with pool.channel() as channel:
        there = channel.queue_declare(name, passive=True)
        if consumers := there.consumer_count:
            raise _in_the_way(name, f"it has {consumers} consumer{'' if consumers == 1 else 's'}: stop them")
        if not even_if_not_empty and (there.message_count or held):
            messages = f"messages ({there.message_count} ready, {held} unacknowledged)"
            raise _in_the_way(name, f"it has {messages}: consume them, or say --even-if-not-empty")
        channel.queue_delete(name, if_unused=classic, if_empty=classic and not even_if_not_empty)


def delete_exchange(pool: ConnectionPool, name: str) -> None:
    """Delete an exchange that nothing is bound to. Raises PreconditionFailedError if something is, NotFoundError."""
    with pool.channel() as channel:
        try:
            channel.exchange_declare(name, passive=True)
            channel.exchange_delete(name, if_unused=True)
        except NotFoundError as error:
            raise NotFoundError(f"there is no exchange {name!r}", code=404, text=error.text) from None
        except PreconditionFailedError as error:
            raise PreconditionFailedError(
                f"exchange {name!r} was not deleted: something is bound to it; unbind that first",
                code=406,
                text=error.text,
            ) from None


def _in_the_way(name: str, why: str) -> PreconditionFailedError:
    return PreconditionFailedError(f"queue {name!r} was not deleted: {why}", code=406, text=why)
