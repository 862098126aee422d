"""What many messages share: destination, properties and headers, checked and encoded once; only id and body are their own.

Pure. A message from an envelope has the same bytes on the wire as one that was prepared and encoded alone.
"""

from __future__ import annotations

import dataclasses
import uuid

from rmqpool.amqp.wire import encode_properties
from rmqpool.identifiers import new_message_id
from rmqpool.message import Message

__all__ = ["Envelope"]

_PLACEHOLDER = uuid.uuid4().hex + "-any"  # 36 characters, as long as an id, and in nobody's headers


class Envelope:
    """Made from a prepared message, of which id and body do not matter. Immutable and thread-safe.

    Raises MessageError, MessageTooLargeError if the headers cannot be sent in one frame of ``frame_max`` bytes.
    """

    __slots__ = ("_after", "_before", "_route", "_shared")

    def __init__(self, message: Message, frame_max: int) -> None:
        named = dataclasses.replace(message, body=b"", message_id=_PLACEHOLDER)
        self._before, self._after = encode_properties(named, frame_max).split(_PLACEHOLDER.encode())
        self._route = (message.exchange, message.routing_key)
        values = [getattr(message, field.name) for field in dataclasses.fields(Message)]
        self._shared = tuple(values[4:])  # behind exchange, routing key, body and message id

    def seal(self, body: bytes) -> tuple[Message, bytes]:
        """A message with a new id, and its encoded properties."""
        message_id = new_message_id()
        message = Message(*self._route, body, message_id, *self._shared)
        return message, self._before + message_id.encode() + self._after
