"""The one place that asks pika for a channel: a connection that has none left is an answer, never a fault of the link.

The limit is what client and broker agreed on (AMQP 0-9-1, connection.tune). A channel counts until its close is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pika import exceptions as pika_exceptions

from rmqpool.amqp.connection import Connection
from rmqpool.errors import ChannelLimitError

if TYPE_CHECKING:
    from rmqpool.amqp.link import Link

__all__ = ["new_channel"]


def new_channel(
    link: Link,
    connection: Connection,
    on_open: Callable[[Any], None],
    on_closed: Callable[[Any, BaseException], None],
) -> Any:
    """Send channel.open and return pika's channel; both callbacks are contained. I/O thread only.

    Raises ChannelLimitError when ``channel_max`` channels are open on the connection; nothing was sent then.
    """
    try:
        channel = connection.channel(on_open_callback=link.contained(on_open))
    except pika_exceptions.NoFreeChannels:
        raise ChannelLimitError(
            f"connection {link.name} has all of its {connection.params.channel_max} channels open (channel_max): raise "
            "channel_max in the URL and on the broker, or use fewer channels on one connection"
        ) from None
    channel.add_on_close_callback(link.contained(on_closed))
    return channel
