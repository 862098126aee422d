"""Exchanges and queues on a leased channel: declare, bind, delete, purge; pika's names as blocking calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rmqpool.amqp.not_permitted import not_permitted
from rmqpool.errors import PreconditionFailedError, RmqpoolError, TopologyMismatchError
from rmqpool.mismatch import explain_mismatch
from rmqpool.topology import Queue

__all__ = ["LeasedTopology", "QueueDeclared"]


class QueueDeclared(NamedTuple):
    """The answer to queue_declare: the name (the broker's, if it was asked for one), messages ready, consumers."""

    queue: str
    message_count: int
    consumer_count: int


class LeasedTopology(ABC):
    """The part of a leased channel that is about topology; errors and threads as :class:`rmqpool.lease.LeasedChannel` says."""

    @abstractmethod
    def _call(self, send: Callable[[Any, Callable[[Any], None]], None], during: str, timeout: float | None) -> Any:
        """Send a method and wait for its answer."""

    # Exchanges

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = True,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """exchange.declare (AMQP 0-9-1, 1.6.2.1). ``passive`` only looks whether it is there."""
        self._call(
            lambda channel, reply: channel.exchange_declare(
                exchange, exchange_type, passive, durable, auto_delete, internal, _table(arguments), reply
            ),
            f"exchange_declare({exchange!r})",
            timeout,
        )

    def exchange_delete(self, exchange: str, if_unused: bool = False, timeout: float | None = None) -> None:
        """exchange.delete."""
        self._call(
            lambda channel, reply: channel.exchange_delete(exchange, if_unused, reply),
            f"exchange_delete({exchange!r})",
            timeout,
        )

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """exchange.bind, RabbitMQ's extension (https://www.rabbitmq.com/docs/e2e)."""
        self._call(
            lambda channel, reply: channel.exchange_bind(destination, source, routing_key, _table(arguments), reply),
            f"exchange_bind({destination!r})",
            timeout,
        )

    def exchange_unbind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """exchange.unbind, RabbitMQ's extension."""
        self._call(
            lambda channel, reply: channel.exchange_unbind(destination, source, routing_key, _table(arguments), reply),
            f"exchange_unbind({destination!r})",
            timeout,
        )

    # Queues

    def queue_declare(
        self,
        queue: str | Queue,
        passive: bool = False,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> QueueDeclared:
        """queue.declare (AMQP 0-9-1, 1.7.2.1), by name and flags as in pika, or by a :class:`Queue` value.

        Raises TopologyMismatchError, with the differences, if it exists with other arguments. A Queue value declares that
        queue only: its dead-letter queue is declared by Publisher and Worker, or by a call of its own.
        """
        if isinstance(queue, Queue):
            name, declared, passive = queue.name, queue, passive or queue.passive
            durable, exclusive, auto_delete = queue.durable, queue.exclusive, queue.auto_delete
            arguments = queue.declare_arguments()
        else:
            name, declared = queue, None
        try:
            answer = self._call(
                lambda channel, reply: channel.queue_declare(
                    name, passive, durable, exclusive, auto_delete, _table(arguments), reply
                ),
                f"queue_declare({name!r})",
                timeout,
            )
        except RmqpoolError as error:
            transient = not (durable or exclusive or passive)
            refused = not_permitted(error, f"queue_declare({name!r})") if transient else None
            explained = refused or _explained(error, name, declared)
            raise explained from (None if explained is error else error)
        method = answer.method
        return QueueDeclared(method.queue, method.message_count, method.consumer_count)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """queue.bind."""
        self._call(
            lambda channel, reply: channel.queue_bind(queue, exchange, routing_key, _table(arguments), reply),
            f"queue_bind({queue!r}, {exchange!r})",
            timeout,
        )

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        """queue.unbind."""
        self._call(
            lambda channel, reply: channel.queue_unbind(queue, exchange, routing_key, _table(arguments), reply),
            f"queue_unbind({queue!r}, {exchange!r})",
            timeout,
        )

    def queue_purge(self, queue: str, timeout: float | None = None) -> int:
        """queue.purge; returns how many messages were dropped."""
        answer = self._call(
            lambda channel, reply: channel.queue_purge(queue, reply), f"queue_purge({queue!r})", timeout
        )
        return int(answer.method.message_count)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, timeout: float | None = None
    ) -> int:
        """queue.delete; returns how many messages went with it."""
        answer = self._call(
            lambda channel, reply: channel.queue_delete(queue, if_unused, if_empty, reply),
            f"queue_delete({queue!r})",
            timeout,
        )
        return int(answer.method.message_count)


def _table(arguments: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if arguments is None else dict(arguments)


def _explained(error: RmqpoolError, name: str, declared: Queue | None) -> RmqpoolError:
    """A 406 for a queue value becomes the list of differences."""
    if not isinstance(error, PreconditionFailedError) or isinstance(error, TopologyMismatchError):
        return error
    differences = explain_mismatch(error.text, declared if declared is not None else Queue(name))
    return TopologyMismatchError(str(error), code=error.code, text=error.text, differences=differences)
