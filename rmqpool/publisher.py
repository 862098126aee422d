"""The publisher: every publish ends by its deadline, in one of five outcomes. Never a hang, never a silent loss."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from rmqpool.amqp.wire import encode_properties
from rmqpool.calls import CallOptions, Reply, Waiting, request_options
from rmqpool.errors import (
    CircuitOpenError,
    ConnectionFailedError,
    ConnectionLostError,
    NotSentError,
    PoolClosedError,
    PublishError,
)
from rmqpool.future import PublishFuture
from rmqpool.held_back import not_declared, told_of_all
from rmqpool.message import Confirmation, Message, PublishReport
from rmqpool.middleware import Middleware, PublishingChain, checked
from rmqpool.pool import ConnectionPool
from rmqpool.pool_options import seconds
from rmqpool.sealing import MessageOptions, Sealing
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Topology, checked_topology
from rmqpool.write_lease import Lease

if TYPE_CHECKING:
    from rmqpool.amqp.calling import Call

__all__ = ["MessageOptions", "Publisher"]

T = TypeVar("T")


class Publisher:
    """Publishes with confirms, from any number of threads over the pool's few connections.

    ``pool`` is a :class:`ConnectionPool` (shared; it stays open) or a URL (then the publisher owns its pool and closes
    it). ``declare`` names queues, exchanges and bindings: declared before the first publish, and again on each new
    connection. ``timeout`` is the default deadline in seconds (None: the pool's, 30). ``retry`` writes a message again,
    with the same message_id, when its connection was lost; ``max_message_size`` is in bytes (None: what the broker's
    generation takes by default). ``middleware`` (:class:`Middleware` objects) stands around every publish.

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
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._owns_pool = not isinstance(pool, ConnectionPool)
        self.pool = pool if isinstance(pool, ConnectionPool) else ConnectionPool(pool)
        self._topology = checked_topology(declare)
        self._declared = not self._topology
        self._declaring = threading.Lock()
        self._timeout = self.pool.timeout if timeout is None else seconds("timeout", timeout)
        self._retry = retry
        self._frame_max = self.pool.settings.frame_max
        self._sealing = Sealing(self.pool, max_message_size)
        self._chain = PublishingChain(checked(middleware, "publisher"))
        self._closed = False
        _PUBLISHERS.add(self)

    # Publishing

    def publish(self, queue: str, body: object, **options: Unpack[MessageOptions]) -> Confirmation:
        """Publish to ``queue`` through the default exchange and wait for the confirm.

        ``body`` is bytes, text, or anything that its content type's codec takes (JSON by default). Raises, by its
        deadline: UnroutableError, NackedError, NotSentError, UnknownOutcomeError; before anything is written:
        MessageError (the message cannot be sent), TopologyMismatchError (``declare`` differs from what is there),
        PublishHeldBackError (the pool's circuit breaker is open: also a NotSentError).
        """
        return self.publish_to("", queue, body, **options)

    def publish_to(
        self, exchange: str, routing_key: str, body: object, **options: Unpack[MessageOptions]
    ) -> Confirmation:
        """Publish to ``exchange`` with ``routing_key`` and wait for the confirm; errors as for :meth:`publish`.

        ``mandatory=False`` confirms also what no queue takes: right for events that may have no subscriber.
        """
        self.pool.refuse_on_io_thread("publish")
        return self._submit(exchange, routing_key, body, options, wake=False).result_of_now()

    def submit(self, queue: str, body: object, **options: Unpack[MessageOptions]) -> PublishFuture:
        """Hand a message over without waiting for its outcome: pipelined.

        Waits only while the window is full, at most until the message's deadline (NotSentError then).
        """
        return self.submit_to("", queue, body, **options)

    def submit_to(
        self, exchange: str, routing_key: str, body: object, **options: Unpack[MessageOptions]
    ) -> PublishFuture:
        """As :meth:`submit`, to an exchange."""
        return self._submit(exchange, routing_key, body, options)

    def _submit(
        self, exchange: str, routing_key: str, body: object, options: MessageOptions, *, wake: bool = True
    ) -> PublishFuture:
        deadline = time.monotonic() + self.timeout_of(options)
        retry = self.retry_of(options)
        message, header = self.prepare(exchange, routing_key, body, options)
        if self._chain:
            return self._submit_observed(message, header, deadline, retry, wake=wake)
        if not self._declared:
            self.ensure_declared(deadline)
        return self._hand_over(message, header, deadline, retry, wake=wake)

    def _submit_observed(
        self, message: Message, header: bytes, deadline: float, retry: bool, *, wake: bool
    ) -> PublishFuture:
        try:
            self.ensure_declared(deadline)
            future = self._hand_over(message, header, deadline, retry, wake=wake)
        except BaseException as error:
            self.not_taken(message, error)
            raise
        return self.observe(future)

    def submit_message(
        self,
        message: Message,
        *,
        timeout: float | None = None,
        retry: bool | None = None,
        lease: Lease | None = None,
    ) -> PublishFuture:
        """As :meth:`submit_to`, for a message that is ready: nothing of it is checked, encoded or changed.

        With a ``lease`` it waits to be written for as long as that lasts, and then has ``timeout`` for its confirm; if
        the connection is lost before it was written, it ends as not sent.

        For those who pass messages on: parking, replays, relays. Raises MessageError if its headers cannot be sent.
        """
        if self._closed:
            raise PoolClosedError("the publisher is closed: make a new one")
        deadline = time.monotonic() + (self._timeout if timeout is None else seconds("timeout", timeout))
        header = encode_properties(message, self._frame_max)
        self.ensure_declared(deadline)
        retry = self._retry if retry is None else retry
        if lease is None:
            return self._hand_over(message, header, deadline, retry)
        return self._hand_over(message, header, math.inf, retry, lease=lease, patience=deadline - time.monotonic())

    def publish_many(
        self, queue: str, bodies: Iterable[object], *, exchange: str = "", **options: Unpack[MessageOptions]
    ) -> PublishReport:
        """Publish all ``bodies``, pipelined; returns one outcome for each, in order, and raises for none of them.

        NotSentError, of the call, if nothing can be taken: a circuit breaker is open, or the topology cannot be declared.
        Every body is checked before the first is written (MessageError). ``timeout`` is the deadline of the whole call.
        """
        self.pool.refuse_on_io_thread("publish_many")
        deadline = time.monotonic() + self.timeout_of(options)
        retry = self.retry_of(options)
        prepared = self.prepare_many(exchange, queue, bodies, options)
        with told_of_all(prepared, self.not_taken):
            self.ensure_declared(deadline)
            self.pool.publishing()  # a pool that is closed already is an error of the call, not of each message
        futures: list[PublishFuture | NotSentError] = []
        for message, header in prepared:
            try:
                futures.append(self.observe(self._hand_over(message, header, deadline, retry)))
            except NotSentError as error:
                futures.append(error)
                self.not_taken(message, error)
            except PoolClosedError as error:
                futures.append(closed_under(message, error))
                self.not_taken(message, error)
        outcomes = (future if isinstance(future, NotSentError) else future.outcome() for future in futures)
        return PublishReport(tuple(outcomes))

    @overload
    def call(
        self,
        queue: str,
        body: object,
        timeout: float | None = None,
        *,
        reply_type: type[T],
        **options: Unpack[CallOptions],
    ) -> Reply[T]: ...
    @overload
    def call(
        self, queue: str, body: object, timeout: float | None = None, **options: Unpack[CallOptions]
    ) -> Reply[Any]: ...
    def call(
        self,
        queue: str,
        body: object,
        timeout: float | None = None,
        *,
        reply_type: Any = Any,
        **options: Unpack[CallOptions],
    ) -> Reply[Any]:
        """Publish a request to ``queue`` and wait for what its handler returns, ``timeout`` seconds at most. Thread-safe.

        ``reply_type`` is what ``reply.body`` shall be, as a handler's annotation. Raises RemoteError (the handler failed,
        and no retry follows), ReplyTimeoutError, ReplyLostError (both: it may have been handled), DecodeError (the
        reply); UnroutableError, NackedError, NotSentError, MessageError as :meth:`publish`: it was not handled.
        """
        self.pool.refuse_on_io_thread("call")
        waiting: Waiting[Any] = Waiting(reply_type, self.timeout_of({"timeout": timeout}))
        message, header = self.prepare("", queue, body, request_options(options))
        try:
            self.ensure_declared(waiting.deadline)
            call = self._begin_call(message, header, waiting.deadline)
        except BaseException as error:
            self.not_taken(message, error)
            raise
        self.observe(call.request)
        return waiting.result(call)

    def _begin_call(self, message: Message, header: bytes, deadline: float) -> Call:
        size = len(message.body) + len(header)
        while True:
            engine = self.pool.calling()
            if engine.window.enter(size, deadline):
                return engine.begin(message, header, deadline)
            if not engine.closed:
                raise window_full(message, self.pool)

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
        sealed = self._sealing.one(exchange, routing_key, body, options)
        return self._chain.before(sealed[0], self._frame_max) if self._chain else sealed

    def prepare_many(
        self, exchange: str, routing_key: str, bodies: Iterable[object], options: MessageOptions
    ) -> Iterable[tuple[Message, bytes]]:
        """As :meth:`prepare`, for every body: all of them are checked before the first is written."""
        if self._closed:
            raise PoolClosedError("the publisher is closed: make a new one")
        sealed = self._sealing.many(exchange, routing_key, bodies, options)
        return self._chain.before_many(sealed, self._frame_max) if self._chain else sealed

    def observe(self, future: PublishFuture) -> PublishFuture:
        """Have middleware told of its outcome."""
        if self._chain:
            future.add_done_callback(self._ended)
        return future

    def not_taken(self, message: Message, error: BaseException) -> None:
        """Have middleware told that it was not handed over."""
        if self._chain:
            told = error if isinstance(error, PublishError) else NotSentError(f"nothing was sent: {error}")
            self._chain.ended(message, told)

    def _ended(self, future: PublishFuture) -> None:
        withdrawn = NotSentError("nothing was sent: the message was cancelled") if future.cancelled() else None
        self._chain.ended(future.message, withdrawn or future.outcome(0))

    def ensure_declared(self, deadline: float) -> None:
        """Declare the publisher's topology once, before its first message."""
        if self._declared:
            return
        if not self._declaring.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise not_declared("another thread is still declaring it")
        try:
            if not self._declared:
                self.pool.declare(self._topology, max(0.0, deadline - time.monotonic()))
                self._declared = True
        except (TimeoutError, CircuitOpenError, ConnectionFailedError, ConnectionLostError) as error:
            raise not_declared(error) from error
        finally:
            self._declaring.release()

    @property
    def needs_declaring(self) -> bool:
        """True until the topology was declared for the first time."""
        return not self._declared

    def _after_fork_in_child(self) -> None:
        self._declaring = threading.Lock()  # a thread that is not here may have held it

    def _hand_over(
        self,
        message: Message,
        header: bytes,
        deadline: float,
        retry: bool,
        *,
        wake: bool = True,
        lease: Lease | None = None,
        patience: float = 0.0,
    ) -> PublishFuture:
        engine = self.pool.publishing()
        while True:
            future = PublishFuture(message, header, deadline, retry, engine)
            if lease is not None:
                future.lease, future.patience = lease, patience
            # Waiting for room on the I/O thread (in a callback) would keep everything from leaving.
            if engine.window.try_enter(future.size) or engine.window.enter(
                future.size, 0.0 if engine.on_io_thread else future.due
            ):
                try:  # no function between the window and here: an interrupt would keep the place for ever
                    engine.take(future, wake)
                except BaseException:  # KeyboardInterrupt: if nothing was written, nothing will be
                    engine.withdraw(future)
                    raise
                return future
            if not engine.closed:
                raise window_full(message, self.pool)
            engine = self.pool.publishing()


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


_PUBLISHERS: weakref.WeakSet[Publisher] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for publisher in list(_PUBLISHERS):
        publisher._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
