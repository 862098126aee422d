"""The one confirm channel of a publish connection: opened, put into confirm mode, opened again after it was closed.

At most one is open or being opened at a time; what another one still says is ignored. I/O thread only.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Protocol

from rmqpool.amqp import wire
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.failures import close_reason
from rmqpool.amqp.frame_reader import Answer
from rmqpool.amqp.link import Link
from rmqpool.amqp.opening import new_channel
from rmqpool.core.backoff import Backoff
from rmqpool.core.confirms import Returned
from rmqpool.errors import ChannelLimitError

__all__ = ["ConfirmChannel", "ConfirmListener"]

_LOGGER = logging.getLogger("rmqpool")
_REOPEN_BACKOFF = Backoff(0.05, 2.0)


class ConfirmListener(Protocol):
    """Hears what the broker says on the channel."""

    def channel_ready(self) -> None: ...
    def channel_closed(self, code: int, text: str) -> bool:
        """True if the close was expected (one suspect was on its way, alone): the next channel opens without a pause."""
        ...

    def returned(self, message_id: str | None, exchange: str, routing_key: str, returned: Returned) -> None: ...
    def answered(self, answers: list[Answer]) -> None: ...


class ConfirmChannel:
    """``channel`` is pika's, None until confirms are on; ``why_closed`` is what was said of the last one, empty when there is
    one. I/O thread only.
    """

    def __init__(
        self, link: Link, listener: ConfirmListener, random_fraction: Callable[[], float] = random.random
    ) -> None:
        self.channel: Any = None
        self.why_closed = ""
        self._link = link
        self._listener = listener
        self._contained = link.contained(lambda function: function())
        self._random = random_fraction
        self._connection: Connection | None = None
        self._opening: Any = None  # from its channel.open on
        self._closes = 0  # in a row, without an answer in between

    def open(self, connection: Connection) -> None:
        """Open it on a connection that is up."""
        self._connection = connection
        self._open()

    def forget(self) -> None:
        """The connection is gone."""
        self._connection = self.channel = self._opening = None
        self.why_closed = ""
        self._closes = 0

    def worked(self) -> None:
        """The broker answered a publish: the next close is a first one again."""
        self._closes = 0

    def _open(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_open or self._opening is not None:
            return
        try:
            self._opening = new_channel(self._link, connection, self._on_open, self._on_closed)
        except ChannelLimitError as error:
            self.why_closed = str(error)
            _LOGGER.warning("the publish channel could not be opened, and is tried again: %s", error)
            self._open_again(connection)

    def _on_open(self, channel: Any) -> None:
        contained = self._link.contained
        channel.add_on_return_callback(contained(self._on_return))
        channel.confirm_delivery(contained(self._on_answer), callback=contained(lambda _: self._on_confirms(channel)))

    def _on_confirms(self, channel: Any) -> None:
        if channel is not self._opening or self._connection is None:
            return
        self.channel = channel
        self.why_closed = ""
        self._connection.listen(channel.channel_number, self)
        self._listener.channel_ready()

    def _on_closed(self, channel: Any, reason: BaseException) -> None:
        connection = self._connection
        if channel is not self._opening or connection is None or not connection.is_open:
            return  # the link says so too
        self.channel = self._opening = None
        connection.unlisten(channel.channel_number)
        code, text = close_reason(reason)
        self.why_closed = f"{code} {text}"
        _LOGGER.warning("the publish channel of %s was closed: %s %s", self._link.name, code, text)
        expected = self._listener.channel_closed(code, text)
        self._open_again(connection, at_once=expected)

    def _open_again(self, connection: Connection, *, at_once: bool = False) -> None:
        self._closes += 1
        delay = 0.0 if at_once or self._closes == 1 else _REOPEN_BACKOFF.delay(self._closes, self._random())
        self._link.call_later(delay, lambda: self._open() if connection is self._connection else None)

    # The fast path: what the frame reader hands over

    def on_contents(self, contents: list[wire.Content]) -> None:
        """basic.return."""
        self._contained(lambda: self._take_returns(contents))

    def on_answers(self, answers: list[Answer]) -> None:
        """basic.ack and basic.nack."""
        self._contained(lambda: self._listener.answered(answers))

    def _take_returns(self, contents: list[wire.Content]) -> None:
        for number, arguments, properties, _ in contents:
            if number != wire.RETURN:
                raise ValueError(f"a confirm channel got method {number:#x}, which is no basic.return")
            code, text, exchange, routing_key = wire.parse_return(arguments)
            message_id = wire.decode_properties(properties).message_id
            self._listener.returned(message_id, exchange, routing_key, Returned(code, text))

    # The same through pika

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        returned = Returned(method.reply_code, method.reply_text)
        self._listener.returned(properties.message_id, method.exchange, method.routing_key, returned)

    def _on_answer(self, frame: Any) -> None:
        method = frame.method
        self._listener.answered([(method.delivery_tag, method.multiple, method.NAME == "Basic.Ack")])
