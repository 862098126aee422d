"""From a body and its options to a message that is ready: checked, encoded, sealed in an envelope that others share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from rmqpool.amqp.wire import encode_properties
from rmqpool.codecs import encode_body
from rmqpool.envelope import Envelope
from rmqpool.errors import MessageError, RmqpoolError
from rmqpool.message import Message
from rmqpool.pool import ConnectionPool
from rmqpool.preparation import prepare_message, too_large

__all__ = ["MessageOptions", "Sealing"]

_MEBIBYTE = 1024 * 1024
_MOST_ENVELOPES = 1024
_NOT_OF_THE_MESSAGE = frozenset({"timeout", "retry"})


class MessageOptions(TypedDict, total=False):
    """Properties of one message, and how it is published.

    ``timeout`` seconds until its deadline; ``retry`` False: write it once only; ``expiration`` seconds or a timedelta;
    ``compression`` ``"gzip"``; everything else as AMQP names it. See :func:`rmqpool.preparation.prepare_message`.
    """

    timeout: float | None
    retry: bool | None
    headers: Mapping[str, Any] | None
    message_id: str | None
    priority: int | None
    expiration: float | timedelta | str | None
    correlation_id: str | None
    reply_to: str | None
    type: str | None
    user_id: str | None
    app_id: str | None
    timestamp: datetime | int | None
    content_type: str | None
    content_encoding: str | None
    compression: str | None
    persistent: bool
    mandatory: bool


class Sealing:
    """Prepares the messages of one publisher. ``max_message_size`` in bytes; None: the pool's, or the broker's default.

    Thread-safe: what it remembers are envelopes, and two threads may well make the same one.
    """

    def __init__(self, pool: ConnectionPool, max_message_size: int | None) -> None:
        self._pool = pool
        self._max_message_size = max_message_size or pool.settings.max_message_size
        self._frame_max = pool.settings.frame_max
        self._user = pool.settings.user
        self._envelopes: dict[tuple[str, str, str], Envelope] = {}

    def one(self, exchange: str, routing_key: str, body: object, options: MessageOptions) -> tuple[Message, bytes]:
        """The message and its encoded properties. Raises MessageError."""
        if not exchange and not isinstance(routing_key, str):
            kind = type(routing_key).__name__
            raise MessageError(f"queue must be a text, the name of a queue, not {kind}", field="queue")
        limit = self._max_message_size or self._find_out_limit()
        if not options:
            return self._seal(exchange, routing_key, body, limit)
        message = self._prepared(exchange, routing_key, body, options, limit)
        return message, encode_properties(message, self._frame_max)

    def many(
        self, exchange: str, routing_key: str, bodies: Iterable[object], options: MessageOptions
    ) -> Iterable[tuple[Message, bytes]]:
        """As :meth:`one`, for every body: all of them are checked before this returns, and sealed as they are asked for.

        Raises MessageError. A message is made while those before it are written already.
        """
        _check_many(bodies, options)
        if "content_encoding" in options:  # whether it may be given depends on each body
            return [self.one(exchange, routing_key, body, options) for body in bodies]
        content_type, compression = options.get("content_type"), options.get("compression")
        limit = self._max_message_size or self._find_out_limit()
        envelopes: dict[tuple[str, str | None], Envelope] = {}
        checked: list[tuple[Envelope, bytes]] = []
        for body in bodies:
            if not envelopes:
                self.one(exchange, routing_key, body, options)  # what is wrong with route and options is said first
            data, its_type, encoding = encode_body(body, content_type, compression=compression)
            if len(data) > limit:
                raise too_large(len(data), limit)
            envelope = envelopes.get((its_type, encoding))
            if envelope is None:
                message = self._prepared(exchange, routing_key, body, options, limit)
                envelope = envelopes[its_type, encoding] = Envelope(message, self._frame_max)
            checked.append((envelope, data))
        return (envelope.seal(data) for envelope, data in checked)

    def _seal(self, exchange: str, routing_key: str, body: object, limit: int) -> tuple[Message, bytes]:
        """A message without options: everything but id and body was checked and encoded with an earlier one."""
        data, content_type, _ = encode_body(body)
        if len(data) > limit:
            raise too_large(len(data), limit)
        try:
            envelope = self._envelopes.get((exchange, routing_key, content_type))
        except TypeError:  # unhashable, so exchange or routing key is no text: the checks say so
            envelope = None
        if envelope is None:
            message = self._prepared(exchange, routing_key, body, {}, limit)
            envelope = Envelope(message, self._frame_max)
            if len(self._envelopes) >= _MOST_ENVELOPES:
                self._envelopes.clear()  # thousands of destinations: what is in use comes back at once
            self._envelopes[exchange, routing_key, content_type] = envelope
        return envelope.seal(data)

    def _prepared(self, exchange: str, routing_key: str, body: object, options: MessageOptions, limit: int) -> Message:
        try:
            return prepare_message(
                exchange,
                routing_key,
                body,
                max_message_size=limit,
                connection_user=self._user,
                **{name: value for name, value in options.items() if name not in _NOT_OF_THE_MESSAGE},  # type: ignore[arg-type]
            )
        except TypeError as error:
            raise _unknown_option(options) or error from None

    def _find_out_limit(self) -> int:
        """What the broker's generation takes by default; the larger one until a connection told the generation."""
        generation = self._pool.broker_generation
        if generation is None:
            return 128 * _MEBIBYTE
        self._max_message_size = (16 if generation >= 4 else 128) * _MEBIBYTE
        return self._max_message_size


def _check_many(bodies: object, options: MessageOptions) -> None:
    if isinstance(bodies, str | bytes | bytearray | memoryview | Mapping):
        raise MessageError(
            f"publish_many takes a list of bodies, not one {type(bodies).__name__}: its parts would be messages of "
            "their own; publish() sends one",
            field="bodies",
        )
    if options.get("message_id") is not None:
        raise MessageError("publish_many gives each message an id of its own: leave message_id out", field="message_id")


def _unknown_option(options: Mapping[str, object]) -> RmqpoolError | None:
    known = set(MessageOptions.__annotations__)
    unknown = sorted(set(options) - known)
    if not unknown:
        return None
    return MessageError(f"unknown option {', '.join(unknown)}: known are {', '.join(sorted(known))}", field=unknown[0])
