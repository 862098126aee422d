"""Declares topology on a throw-away channel: a difference closes that channel only, and nothing is ever deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pika import exceptions as pika_exceptions

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.failures import channel_closed, connection_lost
from rmqpool.amqp.not_permitted import is_transient, not_permitted
from rmqpool.amqp.opening import new_channel
from rmqpool.errors import ChannelLimitError, PoolClosedError, RmqpoolError, TopologyMismatchError
from rmqpool.mismatch import explain_mismatch
from rmqpool.topology import Binding, Exchange, Queue, Topology, expand

if TYPE_CHECKING:
    from rmqpool.amqp.link import Link

__all__ = ["Declaring"]


class Declaring:
    """One round of declarations, in order. I/O thread only; ``on_done`` gets None or the first error, exactly once.

    It gets that after the channel is closed, so that its place on the connection is free again. ChannelLimitError: there
    was no place, and nothing was declared.
    """

    def __init__(
        self,
        link: Link,
        connection: Connection,
        topology: Sequence[Topology],
        on_done: Callable[[RmqpoolError | None], None],
    ) -> None:
        self._link = link
        self._connection = connection
        self._steps = list(expand(topology))
        self._current: Topology | None = None
        self._on_done = on_done
        self._channel: Any = None
        self._declared = False

    def start(self) -> None:
        """Open the channel and declare; the answer comes through ``on_done``."""
        try:
            self._channel = new_channel(self._link, self._connection, self._next, self._on_closed)
        except ChannelLimitError as error:
            self._on_done(error)

    def _next(self, _answer: object) -> None:
        if not self._channel.is_open:
            return  # closing: its close callback tells why
        if not self._steps:
            self._declared = True
            self._channel.close()
            return
        self._current = self._steps.pop(0)
        declare(self._channel, self._current, self._link.contained(self._next))

    def _on_closed(self, _channel: Any, reason: BaseException) -> None:
        error = None if self._declared else self._why(reason)
        self._link.post(lambda: self._on_done(error))  # pika frees the channel's number after this callback

    def _why(self, reason: BaseException) -> RmqpoolError:
        if isinstance(reason, pika_exceptions.ChannelClosedByBroker):
            return explain_refusal(reason.reply_code, reason.reply_text, self._current)
        if isinstance(reason, pika_exceptions.ChannelClosedByClient):
            return PoolClosedError(f"connection {self._link.name} was closed during declarations")
        lost, item = connection_lost(reason, self._link.name), self._current
        if item is None or not is_transient(item):  # then it was lost by somebody else's doing
            return lost
        return not_permitted(lost, f"declaring {describe(item)}") or lost


def declare(channel: Any, item: Topology, callback: Callable[..., None]) -> None:
    """Send the declaration of one value on a pika channel."""
    if isinstance(item, Queue):
        channel.queue_declare(
            item.name,
            passive=item.passive,
            durable=item.durable,
            exclusive=item.exclusive,
            auto_delete=item.auto_delete,
            arguments=item.declare_arguments(),
            callback=callback,
        )
    elif isinstance(item, Exchange):
        channel.exchange_declare(
            item.name,
            exchange_type=item.type,
            durable=item.durable,
            auto_delete=item.auto_delete,
            internal=item.internal,
            arguments=item.declare_arguments(),
            callback=callback,
        )
    else:
        _bind(channel, item, callback)


def _bind(channel: Any, item: Binding, callback: Callable[..., None]) -> None:
    arguments = dict(item.arguments)
    if item.destination_type == "queue":
        channel.queue_bind(item.destination, item.source, item.routing_key, arguments=arguments, callback=callback)
    else:
        channel.exchange_bind(item.destination, item.source, item.routing_key, arguments=arguments, callback=callback)


def explain_refusal(code: int, text: str, item: Topology | None) -> RmqpoolError:
    """What the broker said about one declaration; a 406 becomes the differences."""
    what = f"declaring {describe(item)}" if item is not None else "opening a channel"
    if code != 406 or item is None or isinstance(item, Binding):
        return channel_closed(code, text, what)
    differences = explain_mismatch(text, item)
    told = "; ".join(
        f"{name}: declared {mine or 'an empty text'}, there is {theirs or 'an empty text'}"
        for name, (mine, theirs) in differences.items()
    )
    return TopologyMismatchError(
        f"{describe(item)} exists with other arguments ({told or text}): nothing was changed; declare it as it is, or "
        "move its messages to a queue of another name; rmqpool topology plan shows every difference, and the way out",
        code=code,
        text=text,
        differences=differences,
    )


def describe(item: Topology) -> str:
    """A queue, exchange or binding in a few words."""
    if isinstance(item, Queue):
        return f"queue {item.name!r}"
    if isinstance(item, Exchange):
        return f"exchange {item.name!r}"
    return f"binding of {item.destination!r} to exchange {item.source!r}"
