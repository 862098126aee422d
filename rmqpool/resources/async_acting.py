"""Carrying out what the ledger decides, on an event loop: resolving futures, tasks that open, tend and close."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from rmqpool.callables import function
from rmqpool.core.ledger import Decision
from rmqpool.errors import ConfigurationError
from rmqpool.resources.base import PoolBase, Slot, check_says_no, weakly
from rmqpool.resources.guarding import Birth
from rmqpool.resources.values import ResourceOptions

__all__ = ["AsyncBase", "settle"]

T = TypeVar("T")

_monotonic = time.monotonic


class AsyncBase(PoolBase[T]):
    """A pool's book, and the tasks that do what the book decides."""

    _in_tasks = True

    def __init__(
        self,
        options: ResourceOptions,
        open: Callable[[], Awaitable[T] | T],
        close: Callable[[T], object] | None,
        check: Callable[[T], object] | None,
        reset: Callable[[T], object] | None,
    ) -> None:
        for name, given in (("open", open), ("close", close), ("check", check), ("reset", reset)):
            if given is not None or name == "open":
                function(f"AsyncResourcePool: {name}", given)
        self._open_one, self._close_one, self._check_one, self._reset_one = open, close, check, reset
        self._quick = reset is None and options.leak_after is None  # what comes back may go the shortest way
        super().__init__(options, checks=check is not None)

    def _new_book(self) -> None:
        super()._new_book()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening: set[asyncio.Task[Any]] = set()
        self._watchers: list[asyncio.Future[None]] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._looker: asyncio.TimerHandle | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the pool belongs to; None before its first use."""
        return self._loop

    def _enter_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; the first one that comes is the pool's. Raises ConfigurationError on another one."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise ConfigurationError(
                    f"pool {self.name!r} belongs to another event loop: make one pool for each loop"
                )
            self._loop = loop
        return loop

    def _outlive_loop(self) -> None:
        """Where the pool's loop is closed, go on with the running one, to close what is open. Errors as :meth:`_enter_loop`."""
        if self._loop is not None and self._loop.is_closed():
            self._loop = None
            self._tasks.clear()
            self._opening.clear()
        self._enter_loop()

    def _act_first(self, fill: Decision[Slot[T], Any] | None) -> None:
        """After the first use: from now on what is old is looked for from time to time."""
        if fill is not None:
            self._act(fill)
            self._pump()
            self._sweep_later()
            self._look_for_leaks()

    def _act(self, decision: Decision[Slot[T], Any]) -> None:
        for grant in decision.grants:
            settle(grant.waiter, None)
        for waiter, refusal in decision.refuse:
            settle(waiter, refusal)
        for slot in decision.discard:
            self._slots.pop(id(slot.resource), None)
            self._close_late(slot.resource)
        for slot in decision.check:
            self._tend(slot, reset=False, check=True)
        if decision.open:
            self._pump()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
        """A task that the pool owns; None when the loop has ended, and nothing can be done any more."""
        if self._loop is None or self._loop.is_closed():
            work.close()
            return None
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Opening

    def _pump(self) -> None:
        """Begin the opens that may begin now, drop those that nobody needs any more."""
        if not self._begun:  # what was asked for before the first use begins with it
            return
        now = _monotonic()
        births, decisions, wake_at = self._decide_opens(now)
        for birth in births:
            task = self._spawn(self._open_task(birth, now))
            if task is not None:
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
                task.add_done_callback(partial(self._never_begun, birth))
            else:
                self._guard.withdraw(birth)
        self._guard.tell()
        if wake_at < math.inf and self._loop is not None and not self._loop.is_closed():
            self._loop.call_later(max(0.0, wake_at - now), weakly(self._pump_again))
        for decision in decisions:
            self._act(decision)

    def _never_begun(self, birth: Birth, task: asyncio.Task[Any]) -> None:
        if task.cancelled():  # once begun it ends otherwise
            self._guard.withdraw(birth)

    def _pump_again(self) -> None:
        self._wake_at = math.inf
        self._pump()

    async def _open_task(self, birth: Birth, began: float) -> None:
        resource: Any = None
        error: BaseException | None = None
        try:
            async with asyncio.timeout(self._options.open_timeout):
                resource = await _result(self._open_one())
        except BaseException as raised:  # noqa: BLE001 - whatever it was, its place in the book is free again
            error = raised
        self._guard.settle(birth, error)
        now = _monotonic()
        decisions, error, gave_up = self._decide_opened(birth, began, now, resource, error)
        for decision in decisions:
            self._act(decision)
        self._pump()
        self._changed()
        self._tell_opened(now - began, error, gave_up)
        _let_through(error)

    # Tending and closing

    def _tend(self, slot: Slot[T], reset: bool, check: bool) -> asyncio.Task[Any] | None:
        """Reset and check a resource that nobody has; the task's result tells whether it is good."""
        return self._spawn(self._tend_task(slot, reset, check))

    async def _tend_task(self, slot: Slot[T], reset: bool, check: bool) -> bool:
        answer: object = True
        error: BaseException | None = None
        try:
            async with asyncio.timeout(self._options.check_timeout):
                if reset and self._reset_one is not None:
                    await _result(self._reset_one(slot.resource))
                if check and self._check_one is not None:
                    answer = await _result(self._check_one(slot.resource))
        except BaseException as raised:  # noqa: BLE001 - a cancelled check leaves the resource in doubt: it is bad
            error = raised
        good = error is None and not check_says_no(answer)
        self._act(self._ledger.tended(slot, _monotonic(), good))
        self._tell_tended(reset, good, error)
        _let_through(error)
        return good

    def _close_late(self, resource: T) -> None:
        self._spawn(self._close_task(resource))

    async def _close_task(self, resource: T) -> None:
        error: BaseException | None = None
        try:
            async with asyncio.timeout(self._options.check_timeout):
                if self._close_one is not None:
                    await _result(self._close_one(resource))
        except BaseException as raised:  # noqa: BLE001 - it is in no book any more
            error = raised
        self._tell_closed(error)
        _let_through(error)

    # Time

    def _sweep_later(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._sweeper = self._loop.call_later(self._sweep_pause(), weakly(self._sweep))

    def _stop_sweeping(self) -> None:
        for timer in (self._sweeper, self._looker):
            if timer is not None:
                timer.cancel()

    def _sweep(self) -> None:
        self._act(self._ledger.expire(_monotonic(), self._options.max_idle))
        if not self._ledger.closed:
            self._sweep_later()

    def _look_for_leaks(self) -> None:
        if self._borrowing.leak_after is None or self._ledger.closed:
            return
        overdue, pause = self._borrowing.look(_monotonic())
        self._borrowing.tell_overdue(overdue, self._tell_lease)
        if self._loop is not None and not self._loop.is_closed():
            self._looker = self._loop.call_later(pause, weakly(self._look_for_leaks))

    async def _next_change(self) -> None:
        watcher = self._enter_loop().create_future()
        self._watchers.append(watcher)
        await watcher

    def _changed(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            settle(watcher, None)


async def _result(answer: Any) -> Any:
    """What a function that may be ``async def`` has returned."""
    return await answer if inspect.isawaitable(answer) else answer


def _let_through(error: BaseException | None) -> None:
    """Ctrl-C may come while a task of the pool runs, and is for the whole program, as SystemExit is."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error


def settle(future: asyncio.Future[Any], result: object) -> None:
    """Ends its waiting."""
    if not future.done():  # its caller was cancelled in this moment, and gives back what it got
        future.set_result(result)
