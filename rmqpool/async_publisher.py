"""The publisher for asyncio: the same names, awaitable. The same engine underneath; no task or thread of its own.

Futures are resolved by one ``call_soon_threadsafe`` a batch and loop, not one a message.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from rmqpool.calls import CallOptions, Reply, Waiting, request_options
from rmqpool.errors import NotSentError, PoolClosedError, PublishError
from rmqpool.future import GRACE, PublishFuture
from rmqpool.held_back import told_of_all
from rmqpool.message import Confirmation, Message, PublishReport
from rmqpool.middleware import Middleware
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import MessageOptions, Publisher, closed_under, window_full
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Topology
from rmqpool.window import Window

if TYPE_CHECKING:
    from rmqpool.amqp.calling import Call

__all__ = ["AsyncPublisher"]

T = TypeVar("T")
Outcome = Confirmation | PublishError

_GRACE = GRACE + 0.1  # seconds after the deadline: a PublishFuture then speaks for an I/O thread that did not
_SHORTEST = 0.01  # seconds between two looks for what is overdue


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
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self._publisher = Publisher(
            pool,
            declare=declare,
            timeout=timeout,
            retry=retry,
            max_message_size=max_message_size,
            middleware=middleware,
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
        begun = self._begin(exchange, routing_key, body, options)
        return await (begun if isinstance(begun, asyncio.Future) else await begun)

    async def submit(self, queue: str, body: object, **options: Unpack[MessageOptions]) -> asyncio.Future[Confirmation]:
        """Hand a message over; the future that comes back is its outcome. Waits only while the window is full."""
        return await self.submit_to("", queue, body, **options)

    async def submit_to(
        self, exchange: str, routing_key: str, body: object, **options: Unpack[MessageOptions]
    ) -> asyncio.Future[Confirmation]:
        """As :meth:`submit`, to an exchange."""
        begun = self._begin(exchange, routing_key, body, options)
        return begun if isinstance(begun, asyncio.Future) else await begun

    async def publish_many(
        self, queue: str, bodies: Iterable[object], *, exchange: str = "", **options: Unpack[MessageOptions]
    ) -> PublishReport:
        """As :meth:`Publisher.publish_many`."""
        publisher = self._publisher
        deadline = time.monotonic() + publisher.timeout_of(options)
        retry = publisher.retry_of(options)
        prepared = publisher.prepare_many(exchange, queue, bodies, options)
        with told_of_all(prepared, publisher.not_taken):
            await self._ensure_declared(deadline)
            inbox = self._loop_inbox()
            self.pool.publishing()  # a pool that is closed already is an error of the call, not of each message
        waiting: list[asyncio.Future[Confirmation]] = []
        for message, header in prepared:
            try:
                future = await self._hand_over(message, header, deadline, retry)
            except NotSentError as error:
                waiting.append(inbox.failed(error))
                publisher.not_taken(message, error)
            except PoolClosedError as error:
                waiting.append(inbox.failed(closed_under(message, error)))
                publisher.not_taken(message, error)
            else:
                waiting.append(inbox.awaitable(future))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        return PublishReport(tuple(_outcome(outcome) for outcome in outcomes))

    @overload
    async def call(
        self,
        queue: str,
        body: object,
        timeout: float | None = None,
        *,
        reply_type: type[T],
        **options: Unpack[CallOptions],
    ) -> Reply[T]: ...
    @overload
    async def call(
        self, queue: str, body: object, timeout: float | None = None, **options: Unpack[CallOptions]
    ) -> Reply[Any]: ...
    async def call(
        self,
        queue: str,
        body: object,
        timeout: float | None = None,
        *,
        reply_type: Any = Any,
        **options: Unpack[CallOptions],
    ) -> Reply[Any]:
        """Publish a request and await what its handler returns; everything as for :meth:`Publisher.call`."""
        publisher = self._publisher
        waiting: Waiting[Any] = Waiting(reply_type, publisher.timeout_of({"timeout": timeout}))
        message, header = publisher.prepare("", queue, body, request_options(options))
        try:
            await self._ensure_declared(waiting.deadline)
            call = await self._begin_call(message, header, waiting.deadline)
        except BaseException as error:
            publisher.not_taken(message, error)
            raise
        publisher.observe(call.request)
        return await waiting.result_async(call)

    async def _begin_call(self, message: Message, header: bytes, deadline: float) -> Call:
        size = len(message.body) + len(header)
        while True:
            engine = self.pool.calling()
            if engine.window.try_enter(size) or await _enter(engine.window, size, deadline):
                return engine.begin(message, header, deadline)
            if not engine.closed:
                raise window_full(message, self.pool)

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

    def _begin(
        self, exchange: str, routing_key: str, body: object, options: MessageOptions
    ) -> asyncio.Future[Confirmation] | Coroutine[object, object, asyncio.Future[Confirmation]]:
        """Mostly the message is handed over at once; otherwise something has to be awaited before."""
        publisher = self._publisher
        deadline = time.monotonic() + publisher.timeout_of(options)
        retry = publisher.retry_of(options)
        message, header = publisher.prepare(exchange, routing_key, body, options)
        if not publisher.needs_declaring:
            try:
                engine = self.pool.publishing()
            except NotSentError as error:
                publisher.not_taken(message, error)
                raise
            if engine.window.try_enter(len(message.body) + len(header)):
                future = publisher.observe(engine.submit(message, header, deadline, retry))
                return self._loop_inbox().awaitable(future)
        return self._wait_and_submit(message, header, deadline, retry)

    async def _wait_and_submit(
        self, message: Message, header: bytes, deadline: float, retry: bool
    ) -> asyncio.Future[Confirmation]:
        try:
            await self._ensure_declared(deadline)
            future = await self._hand_over(message, header, deadline, retry)
        except BaseException as error:
            self._publisher.not_taken(message, error)
            raise
        return self._loop_inbox().awaitable(future)

    async def _ensure_declared(self, deadline: float) -> None:
        if self._publisher.needs_declaring:
            await asyncio.to_thread(self._publisher.ensure_declared, deadline)

    async def _hand_over(self, message: Message, header: bytes, deadline: float, retry: bool) -> PublishFuture:
        size = len(message.body) + len(header)
        while True:
            engine = self.pool.publishing()
            if engine.window.try_enter(size) or await _enter(engine.window, size, deadline):
                return self._publisher.observe(engine.submit(message, header, deadline, retry))
            if not engine.closed:
                raise window_full(message, self.pool)

    def _loop_inbox(self) -> _LoopInbox:
        loop = asyncio.get_running_loop()
        if self._inbox is None or self._inbox.loop is not loop:
            self._inbox = _LoopInbox(loop)
        return self._inbox


class _Awaitable(asyncio.Future[Confirmation]):
    """The outcome of one message for its event loop. Cancelling it withdraws the message if nothing of it was written."""

    __slots__ = ("_inbox", "message_future")

    def __init__(self, inbox: _LoopInbox, message_future: PublishFuture) -> None:
        super().__init__(loop=inbox.loop)
        self._inbox = inbox
        self.message_future = message_future

    def cancel(self, msg: object = None) -> bool:
        """As asyncio's."""
        if not super().cancel(msg):
            return False
        self._inbox.forget(self)
        self.message_future.cancel()
        return True

    def arrived(self, _: PublishFuture) -> None:
        """The outcome is known; called on the I/O thread."""
        self._inbox.put(self)


class _LoopInbox:
    """Outcomes on their way from the I/O thread to one event loop: one wake-up while none is pending."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._open: dict[_Awaitable, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf  # monotonic
        self._arrived: deque[_Awaitable] = deque()
        self._woken = False

    def awaitable(self, future: PublishFuture) -> asyncio.Future[Confirmation]:
        """An asyncio future with the same outcome; cancelling it withdraws an unwritten message."""
        awaitable = _Awaitable(self, future)
        self._open[awaitable] = None
        if future.deadline + _GRACE < self._timer_at:
            self._look_at(future.deadline + _GRACE)
        future.add_done_callback(awaitable.arrived)
        return awaitable

    def failed(self, error: PublishError) -> asyncio.Future[Confirmation]:
        """A future that has failed already."""
        awaitable: asyncio.Future[Confirmation] = self.loop.create_future()
        awaitable.set_exception(error)
        return awaitable

    def put(self, awaitable: _Awaitable) -> None:
        """Its outcome is known. From any thread."""
        self._arrived.append(awaitable)
        if not self._woken and not self.loop.is_closed():
            self._woken = True
            self.loop.call_soon_threadsafe(self._deliver)

    def forget(self, awaitable: _Awaitable) -> None:
        """Nobody waits for it any longer."""
        self._open.pop(awaitable, None)

    def _deliver(self) -> None:
        self._woken = False
        while self._arrived:
            self._end(self._arrived.popleft())

    def _end(self, awaitable: _Awaitable) -> None:
        self.forget(awaitable)
        _pass_on(awaitable)

    # The I/O thread may be stuck: one timer for all, at the first deadline

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self.loop.call_later(max(_SHORTEST, when - time.monotonic()), self._end_overdue)

    def _end_overdue(self) -> None:
        """End what the I/O thread did not end, then sleep until the first deadline of what is open."""
        self._timer, self._timer_at = None, math.inf
        now = time.monotonic()
        for awaitable in list(self._open):
            if awaitable.message_future.deadline + _GRACE < now:
                self._end(awaitable)
        first = min((awaitable.message_future.deadline for awaitable in self._open), default=None)
        if first is not None:
            self._look_at(first + _GRACE)


async def _enter(window: Window, size: int, deadline: float) -> bool:
    """As :meth:`Window.enter`, for the running event loop."""
    loop = asyncio.get_running_loop()
    called = asyncio.Event()

    def wake() -> bool:
        try:
            loop.call_soon_threadsafe(called.set)
        except RuntimeError:  # the loop was closed meanwhile: nobody waits there any longer
            return False
        return True

    place = window.line_up(size, wake)
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await called.wait()
    except TimeoutError:
        pass  # it may have been let in at the last moment
    except BaseException:  # cancelled
        window.give_up(place)
        raise
    return window.claim(place)


def _pass_on(awaitable: _Awaitable) -> None:
    """Give the outcome on, if nobody did before."""
    if awaitable.done():
        return
    future = awaitable.message_future
    if future.cancelled():
        awaitable.cancel()
        return
    outcome = future.outcome(0)
    if isinstance(outcome, Confirmation):
        awaitable.set_result(outcome)
    else:
        awaitable.set_exception(outcome)


def _outcome(outcome: Confirmation | BaseException) -> Outcome:
    if isinstance(outcome, Confirmation | PublishError):
        return outcome
    raise outcome
