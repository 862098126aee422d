"""The publisher for asyncio: the same names, awaitable. The same engine underneath; no task or thread of its own.

Futures are resolved by one ``call_soon_threadsafe`` a batch and loop, not one a message.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Unpack

from rmqpool.amqp.publishing import Publishing
from rmqpool.errors import NotSentError, PublishError
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation, Message, PublishReport
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import MessageOptions, Publisher, window_full
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Topology

__all__ = ["AsyncPublisher"]

Outcome = Confirmation | PublishError


class AsyncPublisher:
    """As :class:`Publisher`, for one event loop. ``async with`` opens and closes it; a URL makes a pool of its own.

    Cancelling an awaited ``publish`` withdraws the message if nothing of it was written; otherwise it goes on, and its
    outcome is nobody's any more.
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
        self._publisher = Publisher(
            pool, declare=declare, timeout=timeout, retry=retry, max_message_size=max_message_size
        )
        self.pool = self._publisher.pool
        self._inbox: _LoopInbox | None = None

    async def publish(self, queue: str, body: object, **options: Unpack[MessageOptions]) -> Confirmation:
        """Publish to ``queue`` and await the confirm; errors as for :meth:`Publisher.publish`."""
        return await self.publish_to("", queue, body, **options)

    async def publish_to(
        self, exchange: str, routing_key: str, body: object, **options: Unpack[MessageOptions]
    ) -> Confirmation:
        """Publish to an exchange and await the confirm."""
        return await (await self.submit_to(exchange, routing_key, body, **options))

    async def submit(self, queue: str, body: object, **options: Unpack[MessageOptions]) -> asyncio.Future[Confirmation]:
        """Hand a message over; the future that comes back is its outcome. Waits only while the window is full."""
        return await self.submit_to("", queue, body, **options)

    async def submit_to(
        self, exchange: str, routing_key: str, body: object, **options: Unpack[MessageOptions]
    ) -> asyncio.Future[Confirmation]:
        """As :meth:`submit`, to an exchange."""
        publisher = self._publisher
        deadline = time.monotonic() + publisher.timeout_of(options)
        retry = publisher.retry_of(options)
        message, header = publisher.prepare(exchange, routing_key, body, options)
        await self._ensure_declared(deadline)
        future = await self._hand_over(message, header, deadline, retry)
        return self._loop_inbox().awaitable(future)

    async def publish_many(
        self, queue: str, bodies: Iterable[object], *, exchange: str = "", **options: Unpack[MessageOptions]
    ) -> PublishReport:
        """As :meth:`Publisher.publish_many`."""
        publisher = self._publisher
        deadline = time.monotonic() + publisher.timeout_of(options)
        retry = publisher.retry_of(options)
        prepared = publisher.prepare_many(exchange, queue, bodies, options)
        await self._ensure_declared(deadline)
        inbox = self._loop_inbox()
        waiting: list[asyncio.Future[Confirmation]] = []
        for message, header in prepared:
            try:
                future = await self._hand_over(message, header, deadline, retry)
            except NotSentError as error:
                waiting.append(inbox.failed(error))
            else:
                waiting.append(inbox.awaitable(future))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        return PublishReport(tuple(_outcome(outcome) for outcome in outcomes))

    async def flush(self, timeout: float = 10.0) -> bool:
        """Await until every message handed to the pool has its outcome; False if some had none after ``timeout``."""
        return await asyncio.to_thread(self._publisher.flush, timeout)

    async def close(self, timeout: float = 5.0) -> bool:
        """Flush; close the pool if it is this publisher's own."""
        return await asyncio.to_thread(self._publisher.close, timeout)

    async def __aenter__(self) -> AsyncPublisher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncPublisher on {self.pool!r}>"

    # Inside

    async def _ensure_declared(self, deadline: float) -> None:
        if self._publisher.needs_declaring:
            await asyncio.to_thread(self._publisher.ensure_declared, deadline)

    async def _hand_over(self, message: Message, header: bytes, deadline: float, retry: bool) -> PublishFuture:
        size = len(message.body) + len(header)
        while True:
            engine = self.pool.publishing()
            if engine.window.try_enter(size):
                return engine.submit(message, header, deadline, retry)
            if engine.closed:
                continue
            if not await self._space(engine, deadline):
                raise window_full(message, self.pool)

    async def _space(self, engine: Publishing, deadline: float) -> bool:
        """Wait until something left the window; False at the deadline."""
        loop = asyncio.get_running_loop()
        space = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits there any longer
                loop.call_soon_threadsafe(space.set)

        engine.window.call_on_space(wake)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await space.wait()
        except TimeoutError:
            return False
        return True

    def _loop_inbox(self) -> _LoopInbox:
        loop = asyncio.get_running_loop()
        if self._inbox is None or self._inbox.loop is not loop:
            self._inbox = _LoopInbox(loop)
        return self._inbox


class _LoopInbox:
    """Outcomes on their way from the I/O thread to one event loop: one wake-up while none is pending."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._arrived: deque[tuple[asyncio.Future[Confirmation], PublishFuture]] = deque()
        self._woken = False

    def awaitable(self, future: PublishFuture) -> asyncio.Future[Confirmation]:
        """An asyncio future with the same outcome; cancelling it withdraws an unwritten message."""
        awaitable: asyncio.Future[Confirmation] = self.loop.create_future()
        awaitable.add_done_callback(partial(_withdraw_if_cancelled, future))
        future.add_done_callback(partial(self._put, awaitable))
        return awaitable

    def failed(self, error: PublishError) -> asyncio.Future[Confirmation]:
        """A future that has failed already."""
        awaitable: asyncio.Future[Confirmation] = self.loop.create_future()
        awaitable.set_exception(error)
        return awaitable

    def _put(self, awaitable: asyncio.Future[Confirmation], future: PublishFuture) -> None:
        self._arrived.append((awaitable, future))
        if not self._woken and not self.loop.is_closed():
            self._woken = True
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        while self._arrived:
            awaitable, future = self._arrived.popleft()
            if awaitable.done():
                continue
            if future.cancelled():
                awaitable.cancel()
                continue
            outcome = future.outcome(0)
            if isinstance(outcome, Confirmation):
                awaitable.set_result(outcome)
            else:
                awaitable.set_exception(outcome)


def _withdraw_if_cancelled(future: PublishFuture, awaitable: asyncio.Future[Confirmation]) -> None:
    if awaitable.cancelled():
        future.cancel()


def _outcome(outcome: Confirmation | BaseException) -> Outcome:
    if isinstance(outcome, Confirmation | PublishError):
        return outcome
    raise outcome
