"""The publisher: every publish ends by its deadline, in one of five outcomes. Never a hang, never a silent loss."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypedDict, Unpack

from rmqpool.amqp.wire import encode_properties
from rmqpool.codecs import encode_body
from rmqpool.envelope import Envelope
from rmqpool.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    MessageError,
    NotSentError,
    PoolClosedError,
    RmqpoolError,
)
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation, Message, PublishReport
from rmqpool.pool import ConnectionPool
from rmqpool.pool_options import seconds
from rmqpool.preparation import prepare_message, too_large
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Binding, Exchange, Queue, Topology

__all__ = ["MessageOptions", "Publisher"]

_MEBIBYTE = 1024 * 1024


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


class Publisher:
    """Publishes with confirms, from any number of threads over the pool's few connections.

    ``pool`` is a :class:`ConnectionPool` (shared; it stays open) or a URL (then the publisher owns its pool and closes
    it). ``declare`` names queues, exchanges and bindings: declared before the first publish, and again on each new
    connection. ``timeout`` is the default deadline in seconds (None: the pool's, 30). ``retry`` writes a message again,
    with the same message_id, when its connection was lost; ``max_message_size`` is in bytes (None: what the broker's
    generation takes by default).

    Messages of one thread to one queue keep their order as long as none of them is written a second time.
    """

    def __init__(
        self,
        pool: ConnectionPool | ConnectionSettings | str = "amqp://guest:guest@127.0.0.1/",
        *,
        declare: Iterable[Topology] = (),
        timeout: float | None = None,
        retry: bool = True,
        max_message_size: int | None = None,
    ) -> None:
        if isinstance(declare, Queue | Exchange | Binding):
            raise ConfigurationError(f"declare takes a list: declare=[{type(declare).__name__}(…)]")
        self._owns_pool = not isinstance(pool, ConnectionPool)
        self.pool = pool if isinstance(pool, ConnectionPool) else ConnectionPool(pool)
        self._topology = tuple(declare)
        self._declared = not self._topology
        self._declaring = threading.Lock()
        self._timeout = self.pool.timeout if timeout is None else seconds("timeout", timeout)
        self._retry = retry
        self._max_message_size = max_message_size or self.pool.settings.max_message_size
        self._frame_max = self.pool.settings.frame_max
        self._user = self.pool.settings.user
        self._envelopes: dict[tuple[str, str, str], Envelope] = {}
        self._closed = False
        _PUBLISHERS.add(self)

    # Publishing

    def publish(self, queue: str, body: object, **options: Unpack[MessageOptions]) -> Confirmation:
        """Publish to ``queue`` through the default exchange and wait for the confirm.

        ``body`` is bytes, text, or anything that its content type's codec takes (JSON by default). Raises, by its
        deadline: UnroutableError, NackedError, NotSentError, UnknownOutcomeError; before anything is written:
        MessageError (the message cannot be sent), TopologyMismatchError (``declare`` differs from what is there).
        """
        self.pool.refuse_on_io_thread("publish")
        return self.submit(queue, body, **options).result()

    def publish_to(
        self, exchange: str, routing_key: str, body: object, **options: Unpack[MessageOptions]
    ) -> Confirmation:
        """Publish to ``exchange`` with ``routing_key`` and wait for the confirm; errors as for :meth:`publish`.

        ``mandatory=False`` confirms also what no queue takes: right for events that may have no subscriber.
        """
        self.pool.refuse_on_io_thread("publish_to")
        return self.submit_to(exchange, routing_key, body, **options).result()

    def submit(self, queue: str, body: object, **options: Unpack[MessageOptions]) -> PublishFuture:
        """Hand a message over without waiting for its outcome: pipelined.

        Waits only while the window is full, at most until the message's deadline (NotSentError then).
        """
        return self.submit_to("", queue, body, **options)

    def submit_to(
        self, exchange: str, routing_key: str, body: object, **options: Unpack[MessageOptions]
    ) -> PublishFuture:
        """As :meth:`submit`, to an exchange."""
        deadline = time.monotonic() + self.timeout_of(options)
        retry = self.retry_of(options)
        message, header = self.prepare(exchange, routing_key, body, options)
        if not self._declared:
            self.ensure_declared(deadline)
        return self._hand_over(message, header, deadline, retry)

    def submit_message(
        self, message: Message, *, timeout: float | None = None, retry: bool | None = None
    ) -> PublishFuture:
        """As :meth:`submit_to`, for a message that is ready: nothing of it is checked, encoded or changed.

        For those who pass messages on: parking, replays, relays. Raises MessageError if its headers cannot be sent.
        """
        if self._closed:
            raise PoolClosedError("the publisher is closed: make a new one")
        deadline = time.monotonic() + (self._timeout if timeout is None else seconds("timeout", timeout))
        header = encode_properties(message, self._frame_max)
        self.ensure_declared(deadline)
        return self._hand_over(message, header, deadline, self._retry if retry is None else retry)

    def publish_many(
        self, queue: str, bodies: Iterable[object], *, exchange: str = "", **options: Unpack[MessageOptions]
    ) -> PublishReport:
        """Publish all ``bodies``, pipelined; returns one outcome for each, in order, and raises for none of them.

        Every body is checked before the first is written (MessageError). ``timeout`` is the deadline of the whole call.
        """
        self.pool.refuse_on_io_thread("publish_many")
        deadline = time.monotonic() + self.timeout_of(options)
        retry = self.retry_of(options)
        prepared = self.prepare_many(exchange, queue, bodies, options)
        self.ensure_declared(deadline)
        self.pool.publishing()  # a pool that is closed already is an error of the call, not of each message
        futures: list[PublishFuture | NotSentError] = []
        for message, header in prepared:
            try:
                futures.append(self._hand_over(message, header, deadline, retry))
            except NotSentError as error:
                futures.append(error)
            except PoolClosedError as error:
                futures.append(closed_under(message, error))
        outcomes = (future if isinstance(future, NotSentError) else future.outcome() for future in futures)
        return PublishReport(tuple(outcomes))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until every message handed to the pool has its outcome; False if some had none after ``timeout`` seconds."""
        return self.pool.flush(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Flush; close the pool if it is this publisher's own. True if nothing was left over. Idempotent."""
        if self._closed:
            return True
        self._closed = True
        if self._owns_pool:
            return self.pool.close(timeout)
        if self._declared:
            self.pool.forget(self._topology)
        return self.flush(timeout)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Publisher {'closed ' if self._closed else ''}on {self.pool!r}>"

    # Shared with AsyncPublisher

    def timeout_of(self, options: MessageOptions) -> float:
        """The seconds that this message has."""
        if not options:
            return self._timeout
        timeout = options.get("timeout")
        return self._timeout if timeout is None else seconds("timeout", timeout)

    def retry_of(self, options: MessageOptions) -> bool:
        """Whether it may be written a second time."""
        if not options:
            return self._retry
        retry = options.get("retry")
        return self._retry if retry is None else retry

    def prepare(self, exchange: str, routing_key: str, body: object, options: MessageOptions) -> tuple[Message, bytes]:
        """Check everything and encode: the message and its encoded properties. Raises MessageError."""
        if self._closed:
            raise PoolClosedError("the publisher is closed: make a new one")
        if not exchange and not isinstance(routing_key, str):
            kind = type(routing_key).__name__
            raise MessageError(f"queue must be a text, the name of a queue, not {kind}", field="queue")
        limit = self._max_message_size or self._find_out_limit()
        if not options:
            return self._seal(exchange, routing_key, body, limit)
        message = self._prepared(exchange, routing_key, body, options, limit)
        return message, encode_properties(message, self._frame_max)

    def _prepared(
        self, exchange: str, routing_key: str, body: object, options: MessageOptions, limit: int
    ) -> Message:
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

    def prepare_many(
        self, exchange: str, routing_key: str, bodies: Iterable[object], options: MessageOptions
    ) -> Iterable[tuple[Message, bytes]]:
        """As :meth:`prepare`, for every body: all of them are checked before the first is written.

        Raises MessageError at once; the messages themselves are made one by one, while those before them are written.
        """
        if isinstance(bodies, str | bytes | bytearray | memoryview | Mapping):
            raise MessageError(
                f"publish_many takes a list of bodies, not one {type(bodies).__name__}: its parts would be messages of "
                "their own; publish() sends one",
                field="bodies",
            )
        if options.get("message_id") is not None:
            raise MessageError(
                "publish_many gives each message an id of its own: leave message_id out", field="message_id"
            )
        if "content_encoding" in options:  # whether it may be given depends on each body
            return [self.prepare(exchange, routing_key, body, options) for body in bodies]
        envelopes: dict[str, Envelope] = {}
        checked: list[tuple[Envelope, bytes]] = []
        content_type, compression = options.get("content_type"), options.get("compression")
        limit = self._max_message_size or self._find_out_limit()
        for body in bodies:
            if not envelopes:
                self.prepare(exchange, routing_key, body, options)  # options and route, before the bodies
            data, its_type, _ = encode_body(body, content_type, compression=compression)
            if len(data) > limit:
                raise too_large(len(data), limit)
            envelope = envelopes.get(its_type)
            if envelope is None:
                message = self._prepared(exchange, routing_key, body, options, limit)
                envelope = envelopes[its_type] = Envelope(message, self._frame_max)
            checked.append((envelope, data))
        return (envelope.seal(data) for envelope, data in checked)

    def ensure_declared(self, deadline: float) -> None:
        """Declare the publisher's topology once, before its first message."""
        if self._declared:
            return
        if not self._declaring.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._not_declared("another thread is still declaring it")
        try:
            if not self._declared:
                self.pool.declare(self._topology, max(0.0, deadline - time.monotonic()))
                self._declared = True
        except (TimeoutError, ConnectionFailedError, ConnectionLostError) as error:
            raise self._not_declared(error) from error
        finally:
            self._declaring.release()

    @property
    def needs_declaring(self) -> bool:
        """True until the topology was declared for the first time."""
        return not self._declared

    def _after_fork_in_child(self) -> None:
        self._declaring = threading.Lock()  # a thread that is not here may have held it

    def _not_declared(self, error: object) -> NotSentError:
        return NotSentError(f"nothing was sent: the publisher's topology could not be declared ({error})")

    def _hand_over(self, message: Message, header: bytes, deadline: float, retry: bool) -> PublishFuture:
        size = len(message.body) + len(header)
        engine = self.pool.publishing()
        if engine.window.try_enter(size):
            return engine.submit(message, header, deadline, retry)
        while True:
            # Waiting for room on the I/O thread (in a callback) would keep everything from leaving.
            wait_until = 0.0 if engine.on_io_thread else deadline
            if engine.window.enter(size, wait_until):
                return engine.submit(message, header, deadline, retry)
            if not engine.closed:
                raise window_full(message, self.pool)
            engine = self.pool.publishing()

    def _find_out_limit(self) -> int:
        """What the broker's generation takes by default; the larger one until a connection told the generation."""
        generation = self.pool.broker_generation
        if generation is None:
            return 128 * _MEBIBYTE
        self._max_message_size = (16 if generation >= 4 else 128) * _MEBIBYTE
        return self._max_message_size


_MOST_ENVELOPES = 1024
_NOT_OF_THE_MESSAGE = frozenset({"timeout", "retry"})


def window_full(message: Message, pool: ConnectionPool) -> NotSentError:
    """The window had no room until the deadline."""
    return NotSentError(
        f"message {message.message_id} was not sent: the window of messages without an outcome stayed full until its "
        f"deadline ({pool.stats().summary()}); nothing was written",
        message_id=message.message_id,
        exchange=message.exchange,
        routing_key=message.routing_key,
    )


def closed_under(message: Message, error: PoolClosedError) -> NotSentError:
    """The pool was closed before the message was handed over."""
    outcome = NotSentError(
        f"message {message.message_id} was not sent: {error}",
        message_id=message.message_id,
        exchange=message.exchange,
        routing_key=message.routing_key,
    )
    outcome.__cause__ = error
    return outcome


def _unknown_option(options: Mapping[str, object]) -> RmqpoolError | None:
    known = set(MessageOptions.__annotations__)
    unknown = sorted(set(options) - known)
    if not unknown:
        return None
    return MessageError(f"unknown option {', '.join(unknown)}: known are {', '.join(sorted(known))}", field=unknown[0])


_PUBLISHERS: weakref.WeakSet[Publisher] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for publisher in list(_PUBLISHERS):
        publisher._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
