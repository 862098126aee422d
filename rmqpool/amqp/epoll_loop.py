"""An I/O loop for pika on epoll: the interface that pika documents for loops of others, and as little as can be per event.

A message that is published alone goes twice through the loop, with cold caches: every call that is not made there is felt.
Where there is no epoll (macOS) pika's own loop serves.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.selector_ioloop_adapter import AbstractSelectorIOLoop

__all__ = ["EpollLoop", "new_loop"]

_LONGEST_WAIT = 3600.0  # seconds; epoll takes no infinity
_MANY_CANCELLED = 256
Handler = Callable[[int, int], None]


class _Timeout:
    """A handle of :meth:`EpollLoop.call_later`."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], Any]) -> None:
        self.callback: Callable[[], Any] | None = callback


class EpollLoop(AbstractSelectorIOLoop):  # type: ignore[misc]  # pika is not typed
    """Belongs to the thread that runs :meth:`start`; only :meth:`add_callback` is thread-safe.

    An error in a callback ends :meth:`start` with it, as pika's loop does.
    """

    READ, WRITE, ERROR = getattr(select, "EPOLLIN", 1), getattr(select, "EPOLLOUT", 4), getattr(select, "EPOLLERR", 8)
    EDGE = getattr(select, "EPOLLET", 1 << 31)

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._interests: dict[int, int] = {}
        self._handlers: dict[int, Handler] = {}
        self._readers: dict[int, Callable[[], None]] = {}
        self._removed: set[int] = set()  # while events are dispatched: a number may be somebody else's already
        self._timeouts: list[tuple[float, int, _Timeout]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._callbacks: deque[Callable[[], Any]] = deque()
        self._stopping = False
        self._lock = threading.Lock()  # a closed descriptor's number may be somebody else's
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False
        self._before_sleep: Callable[[], None] = lambda: None
        self.add_handler(self._wake, _heard, self.READ | self.EDGE)

    def start(self) -> None:
        """Run until :meth:`stop`."""
        self._stopping = False
        while not self._stopping:
            self._before_sleep()
            self._dispatch(self._epoll.poll(self._wait()))  # after that call, which may set timers
            if self._callbacks:
                self._run_callbacks()
            if self._timeouts and self._timeouts[0][0] <= time.monotonic():
                self._run_timeouts()

    def before_sleep(self, function: Callable[[], None]) -> None:
        """Call ``function`` each time before the loop waits: nothing is between it and the wait, which lets go of the GIL.

        What it wakes on other threads does not find this thread in its way.
        """
        self._before_sleep = function

    def stop(self) -> None:
        """Let :meth:`start` return after what it is doing."""
        self._stopping = True
        self._ring()

    def close(self) -> None:
        """Release the descriptors; only after :meth:`start` has returned."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._epoll.close()
            os.close(self._wake)
        self._handlers.clear()
        self._readers.clear()
        self._timeouts.clear()
        self._callbacks.clear()

    def call_later(self, delay: float, callback: Callable[..., Any]) -> object:
        """Call ``callback`` in ``delay`` seconds; what comes back is for :meth:`remove_timeout`."""
        timeout = _Timeout(callback)
        heapq.heappush(self._timeouts, (time.monotonic() + max(0.0, delay), next(self._order), timeout))
        return timeout

    def remove_timeout(self, timeout_handle: Any) -> None:
        """Do not call it."""
        if timeout_handle.callback is None:
            return
        timeout_handle.callback = None
        self._cancelled += 1
        if self._cancelled > _MANY_CANCELLED and self._cancelled > len(self._timeouts) // 2:
            self._timeouts = [entry for entry in self._timeouts if entry[2].callback is not None]
            heapq.heapify(self._timeouts)
            self._cancelled = 0

    def add_callback(self, callback: Callable[..., Any]) -> None:
        """Call ``callback`` on the loop's thread soon. Thread-safe."""
        self._callbacks.append(callback)
        self._ring()

    add_callback_threadsafe = add_callback  # pika's own name for it

    def add_handler(self, fd: int, handler: Handler, events: int) -> None:
        """Call ``handler`` with the descriptor and what happened to it."""
        self._epoll.register(fd, events)
        self._interests[fd] = events
        self._handlers[fd] = handler

    def update_handler(self, fd: int, events: int) -> None:
        """Wait for other events."""
        self._epoll.modify(fd, events)
        self._interests[fd] = events

    def remove_handler(self, fd: int) -> None:
        """Wait for nothing any more on this descriptor."""
        self._removed.add(fd)
        del self._handlers[fd], self._interests[fd]
        self._readers.pop(fd, None)
        self._epoll.unregister(fd)

    def read_with(self, fd: int, reader: Callable[[], None]) -> None:
        """When a descriptor that has a handler is readable, and nothing else, call ``reader`` instead."""
        self._readers[fd] = reader

    def _wait(self) -> float:
        if self._callbacks or self._stopping:
            return 0.0
        timeouts = self._timeouts
        while timeouts and timeouts[0][2].callback is None:
            heapq.heappop(timeouts)
            self._cancelled -= 1
        if not timeouts:
            return _LONGEST_WAIT
        return min(_LONGEST_WAIT, max(0.0, timeouts[0][0] - time.monotonic()))

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        removed = self._removed
        removed.clear()
        for fd, happened in events:
            if fd in removed:
                continue
            if happened == self.READ and (reader := self._readers.get(fd)) is not None:
                reader()
                continue
            if happened & ~(self.READ | self.WRITE):  # hung up, or an error: whoever waits finds out by trying
                happened = self._interests[fd] & (self.READ | self.WRITE)
            self._handlers[fd](fd, happened)

    def _run_callbacks(self) -> None:
        for _ in range(len(self._callbacks)):  # what they add comes after the next look at the sockets
            self._callbacks.popleft()()

    def _run_timeouts(self) -> None:
        now, due = time.monotonic(), []
        while self._timeouts and self._timeouts[0][0] <= now:
            due.append(heapq.heappop(self._timeouts)[2])
        for timeout in due:
            callback, timeout.callback = timeout.callback, None
            if callback is None:
                self._cancelled -= 1
            else:
                callback()

    def _ring(self) -> None:
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)


def _heard(_file: int, _events: int) -> None:
    """The loop was woken, and that is all. Edge-triggered: the next ring is heard without reading this one away."""


def new_loop() -> Any:
    """The loop for this system: on epoll where there is one, else pika's own."""
    return EpollLoop() if hasattr(select, "epoll") and hasattr(os, "eventfd") else IOLoop()
