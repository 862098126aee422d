"""Publisher confirms on a leased channel: one publish at a time waits for its answer."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any

import pika

from rmqpool.amqp.channel import BlockingChannel
from rmqpool.amqp.wire import header_room
from rmqpool.core.confirms import ConfirmWindow, Returned, Settled
from rmqpool.errors import (
    MessageError,
    MessageTooLargeError,
    NackedError,
    RmqpoolError,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.identifiers import new_message_id

__all__ = ["LeaseConfirms", "publish_properties"]


@dataclass(slots=True, eq=False)
class _Publish:
    exchange: str
    routing_key: str
    body: bytes
    properties: pika.BasicProperties
    mandatory: bool
    answer: Future[None] = field(default_factory=Future)

    def names(self) -> dict[str, Any]:
        return {
            "message_id": self.properties.message_id,
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "attempts": 1,
        }


class LeaseConfirms:
    """The confirm mode of one leased channel."""

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        self._window: ConfirmWindow[_Publish] = ConfirmWindow(lambda publish: publish.properties.message_id)

    def select(self, timeout: float) -> None:
        """confirm.select."""

        def send(channel: Any, reply: Callable[[Any], None]) -> None:
            contained = self._channel.link.contained
            channel.add_on_return_callback(contained(self._on_return))
            channel.confirm_delivery(contained(self._on_answer), callback=contained(reply))

        self._channel.call(send, timeout, "confirm_delivery")
        self._channel.listen(self._on_lost)

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Any, mandatory: bool, timeout: float
    ) -> None:
        """Publish and wait for the confirm; errors as for ``LeasedChannel.basic_publish``."""
        deadline = time.monotonic() + timeout
        checked = publish_properties(properties, self._channel.link.settings.frame_max)
        checked.message_id = checked.message_id or new_message_id()  # a return is known by it
        publish = _Publish(exchange, routing_key, body, checked, mandatory)
        self._channel.tell(lambda channel: self._send(channel, publish), timeout, f"basic_publish({exchange!r})")
        try:
            publish.answer.result(max(0.0, deadline - time.monotonic()))
        except FutureTimeoutError:
            raise UnknownOutcomeError(
                f"message {checked.message_id}: no confirm within {timeout:g} s; publish it again only with the same "
                "message_id",
                **publish.names(),
            ) from None

    def _send(self, channel: Any, publish: _Publish) -> None:
        channel.basic_publish(
            publish.exchange, publish.routing_key, publish.body, publish.properties, publish.mandatory
        )
        self._window.add(publish)

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        self._window.give_back(properties.message_id, Returned(method.reply_code, method.reply_text))

    def _on_answer(self, frame: Any) -> None:
        method = frame.method
        settle = self._window.ack if method.NAME == "Basic.Ack" else self._window.nack
        self._settle(settle(method.delivery_tag, method.multiple))

    def _settle(self, settled: Settled[_Publish]) -> None:
        for publish in settled.acked:
            publish.answer.set_result(None)
        for publish in settled.nacked:
            error = NackedError(f"message {publish.properties.message_id} was refused (basic.nack)", **publish.names())
            publish.answer.set_exception(error)
        for publish, returned in settled.returned:
            publish.answer.set_exception(_unroutable(publish, returned))

    def _on_lost(self, error: RmqpoolError) -> None:
        unanswered, returned = self._window.lose()
        for publish, given_back in returned:
            publish.answer.set_exception(_unroutable(publish, given_back))
        for publish in unanswered:
            unknown = UnknownOutcomeError(
                f"message {publish.properties.message_id}: the channel was lost before its confirm ({error}); publish it "
                "again only with the same message_id",
                **publish.names(),
            )
            unknown.__cause__ = error
            publish.answer.set_exception(unknown)


def _unroutable(publish: _Publish, returned: Returned) -> UnroutableError:
    return UnroutableError(
        f"message {publish.properties.message_id} was returned ({returned.reply_code} {returned.reply_text}): no queue is "
        f"bound to exchange {publish.exchange!r} for routing key {publish.routing_key!r}",
        reply_code=returned.reply_code,
        reply_text=returned.reply_text,
        **publish.names(),
    )


def publish_properties(properties: Any, frame_max: int) -> pika.BasicProperties:
    """pika's properties from those, a mapping of their names, or nothing; checked to fit into one frame."""
    if properties is None:
        properties = pika.BasicProperties()
    elif isinstance(properties, pika.BasicProperties):
        properties = copy.copy(properties)  # the caller may use it again: it gets no message_id of ours
    elif isinstance(properties, Mapping):
        try:
            properties = pika.BasicProperties(**properties)
        except TypeError as error:
            raise MessageError(f"unknown message property: {error}", field="properties") from None
    try:
        size = len(b"".join(properties.encode()))
    except Exception as error:
        raise MessageError(f"the properties cannot be encoded for AMQP: {error}", field="properties") from error
    if size > header_room(frame_max):
        raise MessageTooLargeError(f"the properties take {size} bytes; one frame holds {frame_max}", field="headers")
    return properties
