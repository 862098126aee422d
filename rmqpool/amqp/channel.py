"""A channel for blocking calls: each call is sent on the I/O thread, and its caller waits with a deadline.

The channel remembers whether it may be handed out again: a channel that consumed, has unacknowledged deliveries, was put
into confirm or transaction mode, or saw an error or a timeout is never reused.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from pika import exceptions as pika_exceptions
from pika import spec

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.failures import channel_closed, connection_lost, own_copy
from rmqpool.amqp.link import Link
from rmqpool.amqp.link_values import LinkState
from rmqpool.amqp.opening import new_channel
from rmqpool.errors import (
    CallTimeoutError,
    ChannelLimitError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    PoolClosedError,
    RmqpoolError,
)

__all__ = ["BlockingChannel", "open_channel"]

_SERIALS = itertools.count(1)
Send = Callable[[Any, Callable[[Any], None]], None]


class BlockingChannel:
    """One open channel on a link. Thread-safe: every method may be called from any thread except the I/O thread."""

    def __init__(self, link: Link, channel: Any, epoch: int) -> None:
        self.link = link
        self.epoch = epoch
        self.serial = next(_SERIALS)
        self.unclean = ""  # why it must not be handed out again; empty: it may
        self.on_lost: Callable[[BlockingChannel], None] = lambda channel: None
        self.end_told = False  # its owner has told that it is gone
        self._channel = channel
        self._pending: dict[Future[Any], str] = {}
        self._listeners: list[Callable[[RmqpoolError], None]] = []
        self._error: RmqpoolError | None = None
        self._getting = threading.Lock()  # pika takes one basic.get at a time
        self._on_get_empty: Callable[[Any], None] = lambda frame: None
        channel.add_on_close_callback(link.contained(self._on_closed))
        channel.add_callback(
            link.contained(lambda frame: self._on_get_empty(frame)), [spec.Basic.GetEmpty], one_shot=False
        )
        link.attach(self)

    @property
    def is_open(self) -> bool:
        """False as soon as the channel or its connection is known to be gone."""
        return self._error is None

    @property
    def error(self) -> RmqpoolError | None:
        """Why the channel is gone, None while it is open."""
        return self._error

    def call(self, send: Send, timeout: float, during: str) -> Any:
        """Send a method and wait for its answer: ``send(channel, reply)`` on the I/O thread; ``reply(frame)`` answers.

        Raises ChannelClosedError (or a subclass) if the broker closes the channel over it, ConnectionLostError,
        CallTimeoutError after ``timeout`` seconds; the channel is never reused then, nor after a KeyboardInterrupt.
        """
        if self.link.on_io_thread:
            raise ConfigurationError(f"{during} on the I/O thread would wait for itself: call it from another thread")
        if self._error is not None:
            raise own_copy(self._error)
        future: Future[Any] = Future()
        try:
            if not self.link.post(lambda: self._begin(send, future, during)):
                raise PoolClosedError(
                    f"{during}: connection {self.link.name} is closed, or was inherited through a fork"
                )
            return future.result(timeout)
        except FutureTimeoutError as error:
            if isinstance(error, RmqpoolError):
                raise
            self.unclean = f"{during} timed out"
            raise CallTimeoutError(
                f"{during}: no answer within {timeout:g} s{self._blocked_hint()}; the channel is thrown away"
            ) from None
        except BaseException:  # KeyboardInterrupt: its answer is still to come, and is not for the next borrower
            self.unclean = self.unclean or f"{during} was interrupted"
            raise

    def tell(self, send: Callable[[Any], None], timeout: float, during: str) -> None:
        """Send a method that has no answer (an ack, a publish without confirms)."""

        def send_and_answer(channel: Any, reply: Callable[[Any], None]) -> None:
            send(channel)
            reply(None)

        self.call(send_and_answer, timeout, during)

    def get(self, queue: str, auto_ack: bool, timeout: float) -> tuple[Any, Any, bytes] | None:
        """basic.get: (method, properties, body), or None if the queue is empty."""

        def send(channel: Any, reply: Callable[[Any], None]) -> None:
            self._on_get_empty = lambda _: reply(None)
            channel.basic_get(queue, lambda _, method, properties, body: reply((method, properties, body)), auto_ack)

        deadline = time.monotonic() + timeout
        if not self._getting.acquire(timeout=timeout):
            raise CallTimeoutError(f"basic_get({queue!r}): another basic_get ran on this channel for {timeout:g} s")
        try:
            answer = self.call(send, max(0.0, deadline - time.monotonic()), f"basic_get({queue!r})")
        finally:
            self._getting.release()
        return None if answer is None else (answer[0], answer[1], answer[2])

    def listen(self, listener: Callable[[RmqpoolError], None]) -> None:
        """Call ``listener`` with the reason once the channel is gone (on the I/O thread; at once if it is)."""
        self._listeners.append(listener)
        if self._error is not None:
            self.link.post(lambda: self._run_listeners(self._error or ConnectionLostError("the channel is gone")))

    def close(self) -> None:
        """Close the channel without waiting; whoever waits for an answer gets ConnectionLostError."""
        self.link.post(self._close)

    # On the I/O thread

    def _begin(self, send: Send, future: Future[Any], during: str) -> None:
        if self._error is not None:
            future.set_exception(self._error)
            return
        self._pending[future] = during

        def reply(answer: Any) -> None:
            if self._pending.pop(future, None) is not None:
                future.set_result(answer)

        try:
            send(self._channel, reply)
        except pika_exceptions.ChannelWrongStateError as error:
            self._lose(self._gone(error))
        except Exception as error:  # noqa: BLE001 - whatever pika says of an argument becomes our error
            self._pending.pop(future, None)
            self.unclean = f"{during} failed"
            future.set_exception(ConfigurationError(f"{during}: {error}"))

    def _on_closed(self, _channel: Any, reason: BaseException) -> None:
        if isinstance(reason, pika_exceptions.ChannelClosedByBroker):
            during = next(iter(self._pending.values()), "an earlier call")
            self._lose(channel_closed(reason.reply_code, reason.reply_text, during))
        elif isinstance(reason, pika_exceptions.ChannelClosedByClient):
            self._lose(self._closed_by_us())
        else:
            self._lose(self._gone(reason))

    def _closed_by_us(self) -> RmqpoolError:
        return self._pool_closed() or ConnectionLostError("the channel was closed on our side")

    def _gone(self, reason: BaseException) -> RmqpoolError:
        return self._pool_closed() or connection_lost(reason, self.link.name)

    def _pool_closed(self) -> PoolClosedError | None:
        if self.link.status().state in (LinkState.CLOSING, LinkState.CLOSED):
            return PoolClosedError(f"connection {self.link.name} is closed")
        return None

    def _lose(self, error: RmqpoolError) -> None:
        if self._error is not None:
            return
        self._error = error
        self.unclean = self.unclean or str(error)
        pending, self._pending = self._pending, {}
        for future in pending:
            future.set_exception(error)
        self.link.detach(self)
        self._run_listeners(error)
        self.on_lost(self)

    def _run_listeners(self, error: RmqpoolError) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(error)

    def _close(self) -> None:
        if self._channel.is_open:
            self._channel.close()
        self._lose(ConnectionLostError("the channel was closed on our side"))

    def _blocked_hint(self) -> str:
        return f" (the broker blocks this connection: {self.link.blocked})" if self.link.blocked else ""

    # The link speaks

    def link_up(self, connection: Connection, epoch: int) -> None: ...
    def link_blocked(self, reason: str) -> None: ...
    def link_unblocked(self) -> None: ...
    def link_refused(self, error: ConnectionFailedError) -> None: ...

    def link_down(self, error: RmqpoolError) -> None:
        self._lose(error)

    def __repr__(self) -> str:
        return f"<BlockingChannel {self.serial} on {self.link.name}, {'open' if self.is_open else 'closed'}>"


def open_channel(link: Link, on_done: Callable[[BlockingChannel | RmqpoolError], None]) -> None:
    """Open a channel on the link's connection; ``on_done`` gets it, or the error, on the I/O thread. Thread-safe."""
    link.post(lambda: _Opening(link, on_done).start())


class _Opening:
    """A channel.open under way; ends at the latest when the connection does, or after the AMQP timeout."""

    def __init__(self, link: Link, on_done: Callable[[BlockingChannel | RmqpoolError], None]) -> None:
        self._link = link
        self._on_done = on_done
        self._done = False
        self._connection = link.connection
        self._epoch = link.status().epoch

    def start(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_open:
            self._finish(self._link.last_error or ConnectionLostError(f"connection {self._link.name} is not open"))
            return
        self._link.attach(self)
        self._timer = self._link.call_later(self._link.settings.amqp_timeout, self._on_timeout)
        try:
            new_channel(self._link, connection, self._on_open, self._on_closed)
        except ChannelLimitError as error:
            self._finish(error)

    def _on_open(self, channel: Any) -> None:
        if self._done:
            channel.close()  # nobody waits any longer
            return
        self._finish(BlockingChannel(self._link, channel, self._epoch))

    def _on_closed(self, _channel: Any, reason: BaseException) -> None:
        if not self._done:
            self._finish(connection_lost(reason, self._link.name))

    def _on_timeout(self) -> None:
        seconds = self._link.settings.amqp_timeout
        self._finish(CallTimeoutError(f"no channel was opened on connection {self._link.name} within {seconds:g} s"))

    def _finish(self, result: BlockingChannel | RmqpoolError) -> None:
        if self._done:
            return
        self._done = True
        self._link.detach(self)
        timer = getattr(self, "_timer", None)
        if timer is not None:
            timer.cancel()
        self._on_done(result)

    def link_up(self, connection: Connection, epoch: int) -> None: ...
    def link_blocked(self, reason: str) -> None: ...
    def link_unblocked(self) -> None: ...
    def link_refused(self, error: ConnectionFailedError) -> None: ...

    def link_down(self, error: RmqpoolError) -> None:
        self._finish(error)
