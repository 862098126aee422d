"""Declares again on each new connection, but not what ended the last one: that would end the next one too, for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.declaring import Declaring
from rmqpool.amqp.not_permitted import NOT_PERMITTED, is_transient
from rmqpool.errors import ChannelClosedError, RmqpoolError
from rmqpool.topology import Topology

if TYPE_CHECKING:
    from rmqpool.amqp.link import Link

__all__ = ["Redeclaring"]

_LOGGER = logging.getLogger("rmqpool")


class Redeclaring:
    """The declarations of one actor of a link. I/O thread only."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._may_be_transient = True

    def start(
        self, connection: Connection, topology: Iterable[Topology], on_done: Callable[[RmqpoolError | None], None]
    ) -> None:
        """Declare ``topology`` in order; ``on_done`` gets None or the first error, as :class:`Declaring` tells it."""

        def done(error: RmqpoolError | None) -> None:
            if isinstance(error, ChannelClosedError) and error.code == NOT_PERMITTED and self._may_be_transient:
                self._may_be_transient = False
                _LOGGER.error(
                    "connection %s: queues neither durable nor exclusive are not declared on it again",
                    self._link.name,
                )
            on_done(error)

        items = tuple(item for item in topology if self._may_be_transient or not is_transient(item))
        Declaring(self._link, connection, items, done).start()
