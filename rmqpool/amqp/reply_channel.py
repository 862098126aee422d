"""A confirm channel that also consumes direct replies (https://www.rabbitmq.com/docs/direct-reply-to)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from rmqpool.amqp import wire
from rmqpool.amqp.confirm_channel import ConfirmChannel, ConfirmListener
from rmqpool.amqp.deliveries import Origin, delivery_from, receive
from rmqpool.amqp.link import Link
from rmqpool.message import Delivery

__all__ = ["REPLY_TO", "ReplyChannel"]

REPLY_TO: Final = "amq.rabbitmq.reply-to"
"""The pseudo-queue: consumed by the requester, and the ``reply_to`` of its requests, which the broker makes unique."""

_ORIGIN = Origin(REPLY_TO, 0, 0)  # replies are never settled: nobody needs to know which channel they came on


class ReplyChannel(ConfirmChannel):
    """Ready once confirms are on and the replies are consumed: the broker refuses requests (406) before that."""

    def __init__(
        self,
        link: Link,
        listener: ConfirmListener,
        on_replies: Callable[[Sequence[Delivery]], None],
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(link, listener, random_fraction)
        self._on_replies = on_replies

    def _on_confirms(self, channel: Any) -> None:
        if channel is not self._opening:
            return
        contained = self._link.contained
        channel.add_on_cancel_callback(contained(self._on_cancel))
        ready = super()._on_confirms
        channel.basic_consume(
            REPLY_TO, contained(self._on_reply), auto_ack=True, callback=contained(lambda _: ready(channel))
        )

    def _on_cancel(self, _frame: Any) -> None:
        raise ConnectionError(
            "the broker cancelled the consumer of direct replies"
        )  # contained: the connection is replaced

    def _take_returns(self, contents: list[wire.Content]) -> None:
        replies = [content for content in contents if content[0] == wire.DELIVER]
        if replies:
            self._on_replies(receive(replies, _ORIGIN, None))
        if len(replies) < len(contents):
            super()._take_returns([content for content in contents if content[0] != wire.DELIVER])

    def _on_reply(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """One reply, from pika: where the connection does not read frames itself."""
        reply = delivery_from(method, properties, body, queue=REPLY_TO, epoch=0, channel_serial=0, settler=None)
        self._on_replies([reply])
