"""Taking a connection by a deadline from pools that have another idea of time. What comes too late goes back."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

__all__ = ["taken_by", "taken_by_async"]

_T = TypeVar("_T")
_IDLE_FOR: Final = 10.0  # seconds, then a helper ends


class _Handover(Generic[_T]):
    """From the thread that takes to the one that waits; or back, if nobody waits any more."""

    def __init__(self, take: Callable[[], _T], undo: Callable[[_T], object]) -> None:
        self._take, self._undo = take, undo
        self._lock = threading.Lock()
        self._abandoned = False
        self.ended = threading.Event()
        self.taken: list[_T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            taken = self._take()
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            self.error = error
            self.ended.set()
            return
        with self._lock:
            wanted = not self._abandoned
            if wanted:
                self.taken.append(taken)
        self.ended.set()
        if not wanted:
            with contextlib.suppress(Exception):  # nobody is there any more who could be told
                self._undo(taken)

    def abandon(self) -> None:
        """What was not collected goes back, now or when it comes."""
        with self._lock:
            self._abandoned = True
            left, self.taken = self.taken, []
        for one in left:
            self._undo(one)


def taken_by(deadline: float, take: Callable[[], _T], undo: Callable[[_T], object], permits: threading.Semaphore) -> _T:
    """What ``take`` returns, before ``deadline`` (monotonic); else TimeoutError. Raises what ``take`` raises.

    ``take`` runs in another thread, with the caller's context variables; ``undo`` gets what came too late. There are as
    many such threads as ``permits``: one for whom nobody waits any more goes on to wait, for as long as the pool lets it.
    """
    handover = _Handover(take, undo)
    context = contextvars.copy_context()
    if not permits.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise TimeoutError

    def work() -> None:
        try:
            context.run(handover.run)
        finally:
            permits.release()

    try:
        _help(work)
    except BaseException:  # no more threads
        permits.release()
        raise
    try:
        if not handover.ended.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        if handover.error is not None:
            raise handover.error
        return handover.taken.pop()
    except BaseException:
        handover.abandon()
        raise


class _Helper:
    """A thread that does one thing after the other, and ends when there was nothing to do for a while."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="rmqpool borrow", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.work.get(timeout=_IDLE_FOR)()
            except queue.Empty:
                with _LOCK:
                    if self in _IDLE:  # or somebody is about to give it work
                        _IDLE.remove(self)
                        return
            else:
                with _LOCK:
                    _IDLE.append(self)


def _help(work: Callable[[], object]) -> None:
    """Have it done by another thread, at once. ``work`` raises nothing."""
    with _LOCK:
        helper = _IDLE.pop() if _IDLE else None
    (helper or _Helper()).work.put(work)


def _forget_helpers() -> None:
    """In a forked child: the threads are the parent's."""
    global _LOCK
    _LOCK = threading.Lock()
    _IDLE.clear()


_LOCK = threading.Lock()
_IDLE: list[_Helper] = []
os.register_at_fork(after_in_child=_forget_helpers)


async def taken_by_async(deadline: float, taking: Awaitable[_T], undo: Callable[[_T], Awaitable[object]]) -> _T:
    """As :func:`taken_by`, awaited; also when the waiting task is cancelled."""
    task: asyncio.Future[_T] = asyncio.ensure_future(taking)
    try:
        done, _ = await asyncio.wait({task}, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            raise TimeoutError
    except BaseException:
        task.cancel()
        late = asyncio.ensure_future(_undo_late(task, undo))
        _LATE.add(late)
        late.add_done_callback(_LATE.discard)
        raise
    return task.result()


async def _undo_late(task: asyncio.Future[_T], undo: Callable[[_T], Awaitable[object]]) -> None:
    await asyncio.wait({task})
    if not task.cancelled() and task.exception() is None:
        with contextlib.suppress(Exception):  # as above
            await undo(task.result())


_LATE: set[asyncio.Future[None]] = set()  # an event loop keeps no reference to its tasks
