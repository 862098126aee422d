"""A pool of resources for asyncio: the same names, awaitable. What waits is a future, what blocks a task of the pool.

Everything happens on one event loop, so there is no lock: nothing is awaited between a decision of the ledger and its end.
"""

from __future__ import annotations

import asyncio
import os
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from rmqpool.core.backoff import Backoff
from rmqpool.core.ledger import Refusal
from rmqpool.errors import ConfigurationError, PoolClosedError
from rmqpool.pool_events import EventListener, PoolEventKind
from rmqpool.resources.async_acting import AsyncBase, settle
from rmqpool.resources.base import Slot
from rmqpool.resources.lease import AsyncLease
from rmqpool.resources.values import ResourceOptions, ResourceStats

if TYPE_CHECKING:
    from rmqpool.breaker import Breaker

__all__ = ["AsyncResourcePool"]

T = TypeVar("T")

_monotonic = time.monotonic


class AsyncResourcePool(AsyncBase[T]):
    """As :class:`ResourcePool`, for one event loop: the functions may be ``async def``, and so may not block.

    ``acquire``, ``open``, ``wait``, ``check`` and ``close`` are awaited. ``release`` is not, so no cancellation can get in
    its way. A caller that is cancelled in ``acquire`` takes nothing with it. Not thread-safe. For the arguments see
    :class:`ResourcePool`. Raises ConfigurationError for values that make no sense.
    """

    _kind = "AsyncResourcePool"

    # One signature each, as no type checker finds out alone whether what ``open`` returns is lent or awaited.

    @overload
    def __init__(
        self, open: Callable[[], Awaitable[T]],
        close: Callable[[T], object] | None = None, check: Callable[[T], object] | None = None,
        reset: Callable[[T], object] | None = None, *,
        min_size: int = 0, max_size: int = 10, timeout: float = 30.0, max_waiting: int = 0, max_lifetime: float = 3600.0,
        max_idle: float = 600.0, check_after_idle: float = 30.0, check_timeout: float = 5.0, open_timeout: float = 30.0,
        order: Literal["lifo", "fifo"] = "lifo", growth: int = 1, keep_idle: bool = True, backoff: Backoff = Backoff(0.1, 10.0),  # noqa: B008
        reconnect_timeout: float = 300.0, leak_after: float | None = None, breaker: Breaker | None = None,
        on_event: EventListener | None = None, name: str = "",
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self, open: Callable[[], T],
        close: Callable[[T], object] | None = None, check: Callable[[T], object] | None = None,
        reset: Callable[[T], object] | None = None, *,
        min_size: int = 0, max_size: int = 10, timeout: float = 30.0, max_waiting: int = 0, max_lifetime: float = 3600.0,
        max_idle: float = 600.0, check_after_idle: float = 30.0, check_timeout: float = 5.0, open_timeout: float = 30.0,
        order: Literal["lifo", "fifo"] = "lifo", growth: int = 1, keep_idle: bool = True, backoff: Backoff = Backoff(0.1, 10.0),  # noqa: B008
        reconnect_timeout: float = 300.0, leak_after: float | None = None, breaker: Breaker | None = None,
        on_event: EventListener | None = None, name: str = "",
    ) -> None: ...  # fmt: skip

    def __init__(
        self,
        open: Callable[[], Awaitable[T] | T],
        close: Callable[[T], object] | None = None,
        check: Callable[[T], object] | None = None,
        reset: Callable[[T], object] | None = None,
        *,
        min_size: int = 0,
        max_size: int = 10,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 3600.0,
        max_idle: float = 600.0,
        check_after_idle: float = 30.0,
        check_timeout: float = 5.0,
        open_timeout: float = 30.0,
        order: Literal["lifo", "fifo"] = "lifo",
        growth: int = 1,
        keep_idle: bool = True,
        backoff: Backoff = Backoff(0.1, 10.0),  # noqa: B008 - frozen
        reconnect_timeout: float = 300.0,
        leak_after: float | None = None,
        breaker: Breaker | None = None,
        on_event: EventListener | None = None,
        name: str = "",
    ) -> None:
        self._closing = True  # until all is checked: there is nothing to clean up
        options = ResourceOptions(
            min_size=min_size, max_size=max_size, timeout=timeout, max_waiting=max_waiting, max_lifetime=max_lifetime,
            max_idle=max_idle, check_after_idle=check_after_idle, check_timeout=check_timeout, open_timeout=open_timeout,
            order=order, growth=growth, keep_idle=keep_idle, backoff=backoff, reconnect_timeout=reconnect_timeout,
            workers=1, leak_after=leak_after, breaker=breaker, on_event=on_event, name=name,
        )  # fmt: skip
        super().__init__(options, open, close, check, reset)
        self._closing = False
        _POOLS.add(self)

    # Borrowers

    async def acquire(self, timeout: float | None = None) -> T:
        """Borrow a resource within ``timeout`` seconds (default: the pool's), 0: what is free now; give it back with
        :meth:`release`.

        Callers are served first in, first out. Raises PoolTimeoutError with the numbers (the last error of ``open`` as its
        cause, if opening fails), TooManyWaitingError, PoolClosedError, CircuitOpenError while the breaker is open.
        """
        token = next(self._tokens)
        slot = self._ledger.take(token, _monotonic())
        if slot is None:
            return (await self._wait(self._check_timeout(timeout), token)).resource
        slot.token = token
        return slot.resource

    def lease(self, timeout: float | None = None) -> AsyncLease[T]:
        """``async with pool.lease(timeout) as resource``: borrow for a block. Errors as :meth:`acquire`."""
        return AsyncLease(self, timeout)

    def release(self, resource: T, reusable: bool = True) -> None:
        """Give a resource back; with ``reusable`` False it is closed, and replaced when somebody needs it.

        No coroutine, as it never waits. Raises LeaseReleasedError when this pool has not lent it, or it was given back already.
        """
        slot = self._slots.get(id(resource))
        if slot is None:
            if id(resource) in self._inherited:
                return
            raise self._not_leased(resource)
        self._take_back(slot, None, reusable, False)

    async def _lend(self, timeout: float | None) -> Slot[T]:
        token = next(self._tokens)
        slot = self._ledger.take(token, _monotonic())
        if slot is None:
            return await self._wait(self._check_timeout(timeout), token)
        slot.token = token
        return slot

    def _take_back(self, slot: Slot[T], token: Any, reusable: bool, suspect: bool) -> None:
        """``token``: whose lease it was; None for whoever has it. ``suspect``: it has to be checked first."""
        held = slot.token
        if held is None or (token is not None and token is not held):
            if self._inherited.get(id(slot.resource)) is slot:
                return
            raise self._not_leased(slot.resource)
        slot.token = None
        now = _monotonic()
        if reusable and not suspect and self._quick:
            if self._ledger.give(held, now):
                return
            following = self._ledger.pass_on(held, now)
            if following is not None:
                settle(following, None)
                return
        suspect = suspect and self._check_one is not None
        tend, decision = self._decide_return(slot, held, reusable, suspect or self._reset_one is not None, now)
        if tend:
            self._tend(slot, reset=self._reset_one is not None, check=suspect)
        self._act(decision)
        self._borrowing.tell_returned(self._tell_lease)

    async def _wait(self, timeout: float, asked: Any) -> Slot[T]:
        loop = self._enter_loop()
        began = _monotonic()
        waiter: asyncio.Future[Refusal | None] = loop.create_future()
        self._act(self._decide_to_wait(waiter, began))
        self._act_first(self._begin())
        timer = loop.call_later(timeout, self._time_out, waiter)
        try:
            refusal = await waiter
        except BaseException:  # cancelled: a grant of this moment goes to the next in line
            self._act(self._ledger.abandon(waiter, _monotonic(), cancelled=True).decision)
            raise
        finally:
            timer.cancel()
            self._queued += 1
        slot = self._ledger.held_by(waiter)
        if slot is not None:
            self._waits.add(_monotonic() - began)
            slot.token, slot.asked = waiter, asked
            return slot
        stats, error = self._stats(_monotonic()), self._ledger.last_open_error
        if refusal is not None:
            refused = self._refusal(refusal, stats)
            self._tell(PoolEventKind.ACQUIRE_REFUSED, str(refused), refused)
            raise refused from (error if refusal is Refusal.OPEN_FAILED else None)
        exhausted = self._exhausted(timeout, stats)
        self._tell(PoolEventKind.ACQUIRE_TIMED_OUT, str(exhausted), exhausted)
        raise exhausted from (error if stats.failures_in_a_row else None)

    def _time_out(self, waiter: asyncio.Future[Refusal | None]) -> None:
        if not waiter.done():
            self._ledger.abandon(waiter, _monotonic())  # it waited: nothing follows from that
            waiter.set_result(None)

    # The owner

    async def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Open the minimum; with ``wait`` until it is there, at most ``timeout`` seconds. Safe to call again.

        Raises PoolTimeoutError with the cause when it is not there in time, CircuitOpenError when the breaker opens
        before (the pool goes on trying), PoolClosedError.
        """
        self._refuse_closed()
        self._enter_loop()
        self._act_first(self._begin())
        if wait:
            await self.wait(timeout)

    async def wait(self, timeout: float = 10.0) -> None:
        """Wait until ``min_size`` resources are open; errors as :meth:`open`."""
        await self.open(wait=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not (self._is_filled() or self._gave_up_filling()):
                    await self._next_change()
        if not self._is_filled():
            stats, error = self._stats(_monotonic()), self._ledger.last_open_error
            raise self._not_filled(timeout, stats) from (error if stats.failures_in_a_row else None)
        self._refuse_closed()

    def resize(self, min_size: int | None = None, max_size: int | None = None) -> None:
        """Change the sizes while running; leased ones above ``max_size`` are closed as they come back.

        Raises ConfigurationError when they are out of range.
        """
        now_min, now_max = self._sizes
        sizes = (now_min if min_size is None else min_size, now_max if max_size is None else max_size)
        decision = self._ledger.resize(sizes[1], sizes[0])
        self._sizes = sizes
        self._changed()  # who waits for a minimum that is smaller now has it
        self._tell(PoolEventKind.RESIZED, f"between {sizes[0]} and {sizes[1]} resources from now on")
        self._act(decision)

    def drain(self) -> None:
        """Replace every resource: idle ones now, leased ones when they come back."""
        self._tell(PoolEventKind.DRAINED, "every resource is replaced")
        self._act(self._ledger.drain())

    async def check(self, timeout: float = 30.0) -> int:
        """Check every idle resource now, one after the other, within ``timeout`` seconds; bad ones are replaced.

        Returns how many were bad. Raises ConfigurationError when the pool has no ``check``.
        """
        if self._check_one is None:
            raise ConfigurationError(f"pool {self.name!r} has no check: give check= when making it")
        deadline, bad = _monotonic() + timeout, 0
        for slot in list(self._slots.values()):
            if _monotonic() >= deadline:
                break
            if self._ledger.tend_idle(slot):
                task = self._tend(slot, reset=False, check=True)
                if task is not None:
                    await asyncio.wait([task], timeout=max(0.0, deadline - _monotonic()))
                    bad += task.done() and not task.result()
        return bad

    async def close(self, timeout: float = 5.0) -> bool:
        """Refuse whoever waits, close every idle resource, end the tasks, within ``timeout`` seconds. Idempotent.

        What is leased is closed when it comes back: nobody waits for that. True if all else has ended in time.
        """
        self._outlive_loop()
        first, self._closing = not self._closing, True
        for task in self._opening:
            task.cancel()
        self._act(self._ledger.close())
        self._pump()
        self._stop_sweeping()
        self._changed()
        _POOLS.discard(self)
        deadline = _monotonic() + timeout
        await asyncio.sleep(0)  # each task begins, however short the time: one that is cancelled before closes nothing
        while self._tasks and _monotonic() < deadline:
            await asyncio.wait(self._tasks, timeout=deadline - _monotonic(), return_when=asyncio.FIRST_COMPLETED)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        if first:
            self._tell(PoolEventKind.POOL_CLOSED, "closed")
        return not late

    def stats(self) -> ResourceStats:
        """The figures of this moment, and the counts since the pool was made."""
        return self._stats(_monotonic())

    def pop_stats(self) -> ResourceStats:
        """As :meth:`stats`, with counts and times since the last call of this; :meth:`stats` goes on counting."""
        return self._pop_stats(_monotonic())

    async def __aenter__(self) -> AsyncResourcePool[T]:
        try:
            await self.open(wait=True)
        except BaseException:
            await self.close(timeout=1.0)  # no __aexit__ follows
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closing", True) and self._slots:
            warnings.warn(
                f"pool {self.name!r} was dropped without close(); use it as a context manager",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _refuse_closed(self) -> None:
        if self._ledger.closed:
            raise PoolClosedError(f"pool {self.name!r} is closed: make a new one")


_POOLS: weakref.WeakSet[AsyncResourcePool[Any]] = weakref.WeakSet()


def _forget_the_parents() -> None:
    for pool in list(_POOLS):
        pool._after_fork()


os.register_at_fork(after_in_child=_forget_the_parents)
