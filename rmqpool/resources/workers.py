"""The threads of a resource pool: they run what may block (open, check, reset, close), so that no caller ever does.

A task that takes longer than its time is given up: its caller is told at once, its thread is replaced, and what it brings
late goes to ``late``. At most as many threads as ``most_stuck`` may be given up at a time; beyond that tasks wait.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

__all__ = ["Task", "Workers"]

_LOGGER = logging.getLogger("rmqpool")


class Task:
    """One blocking call. Exactly one of ``done(value, error)`` is called: at its end, or with TimeoutError in its place.

    ``late(value)`` is called when the call returned after it had been given up.
    """

    __slots__ = ("call", "done", "ended", "late", "submitted", "timeout")

    def __init__(
        self,
        call: Callable[[], Any],
        done: Callable[[Any, BaseException | None], object],
        timeout: float | None = None,
        late: Callable[[Any], object] | None = None,
    ) -> None:
        self.call = call
        self.done = done
        self.timeout = timeout
        self.late = late
        self.submitted = self.ended = False  # changed under the lock of the workers


class Workers:
    """Threads made on demand, at most ``limit``, and one that keeps the time. Thread-safe; knows nothing of the pool."""

    def __init__(self, name: str, limit: int, most_stuck: int) -> None:
        self._name = name
        self._limit = limit
        self._most_stuck = most_stuck
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._time = threading.Condition(self._lock)
        self._tasks: deque[Task] = deque()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count(1)
        self._threads: set[threading.Thread] = set()
        self._starting: set[threading.Thread] = set()  # those of them that have not begun to run
        self._given_up: set[threading.Thread] = set()
        self._running: dict[threading.Thread, tuple[float, Task]] = {}  # until when, where there is a limit
        self._wakes_at = -math.inf  # when the keeper of the time looks next
        self._free = 0
        self._keeper: threading.Thread | None = None
        self._stopping = False

    def submit(self, task: Task) -> None:
        """Run a task on one of the threads; never blocks. Doing it twice does nothing more."""
        thread = None
        try:
            with self._lock:
                if not task.submitted:
                    task.submitted = True  # no signal comes between this and the next line
                    self._tasks.append(task)
                if not self._tasks:
                    return
                if self._free >= len(self._tasks):
                    self._work.notify()
                elif self._may_grow():
                    thread = self._new_thread()
                    self._starting.add(thread)
            if thread is not None:
                _start(thread)
        finally:
            if thread is not None:
                self._started(thread)

    def call_at(self, when: float, call: Callable[[], object]) -> None:
        """Call at that moment of the monotonic clock, on the thread that keeps the time: it must not block."""
        with self._lock:
            heapq.heappush(self._timers, (when, next(self._numbers), call))
            self._keep_awake(when)

    def stop(self, last: Iterable[Task] = ()) -> None:
        """What was submitted, and ``last``, is still done; then the threads end. Does not wait; ``__del__`` may call it."""
        self._tasks.extend(last)
        if self._lock.acquire(timeout=0.1):  # garbage may be collected on a thread that holds it
            try:
                self._stopping = True
                self._work.notify_all()
                self._time.notify_all()
            finally:
                self._lock.release()
        else:
            self._stopping = True  # the threads look at it from time to time

    def join(self, deadline: float) -> bool:
        """Wait until the threads have ended; False if some had not at that moment of the monotonic clock."""
        with self._lock:
            self._time.wait_for(lambda: not self._starting, max(0.0, deadline - time.monotonic()))
            threads = [*self._threads, *([self._keeper] if self._keeper else [])]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads if thread is not threading.current_thread())

    @property
    def has_threads(self) -> bool:
        """True while there is a thread. Takes no lock."""
        return bool(self._threads or self._starting) or self._keeper is not None

    # Threads

    def _may_grow(self) -> bool:
        busy = len(self._threads) + len(self._starting) - len(self._given_up)
        return busy < self._limit and len(self._given_up) <= self._most_stuck

    def _new_thread(self) -> threading.Thread:
        """To be started outside of the lock: that waits until it runs, and others have threads to start meanwhile."""
        return threading.Thread(target=self._run, name=f"{self._name}-{next(self._numbers)}", daemon=True)

    def _started(self, thread: threading.Thread) -> None:
        """It runs, and counts itself; or it could not be started; or that was interrupted: it counts itself if it comes."""
        with self._lock:
            self._starting.discard(thread)
            if self._stopping:
                self._time.notify_all()

    def _run(self) -> None:
        me = threading.current_thread()
        with self._lock:
            self._threads.add(me)
            self._starting.discard(me)
        while (task := self._next_task(me)) is not None:
            self._do(task, me)
            del task  # a thread that waits holds nothing

    def _next_task(self, me: threading.Thread) -> Task | None:
        with self._lock:
            if me in self._given_up:  # it came back after all: another one has its place
                self._given_up.discard(me)
                if len(self._threads) - len(self._given_up) > self._limit:
                    self._threads.discard(me)
                    self._time.notify_all()
                    return None
            self._free += 1
            try:
                while not self._tasks and not self._stopping:
                    self._work.wait(10.0)
            finally:
                self._free -= 1
            if self._tasks:
                task = self._tasks.popleft()
                if task.timeout is not None:
                    deadline = time.monotonic() + task.timeout
                    self._running[me] = (deadline, task)
                    self._keep_awake(deadline)
                return task
            self._threads.discard(me)
            self._time.notify_all()
            return None

    def _do(self, task: Task, me: threading.Thread) -> None:
        value, error = None, None
        try:
            value = task.call()
        except BaseException as raised:  # noqa: BLE001 - a user's function may raise anything; the thread must live on
            error = raised
        with self._lock:
            self._running.pop(me, None)
            late, task.ended = task.ended, True
        try:
            if not late:
                task.done(value, error)
            elif error is None and task.late is not None:
                task.late(value)
        except BaseException:
            _LOGGER.exception("a resource pool's own step failed: please report this")
        del value, error  # its traceback refers to this frame

    # Time

    def _keep_awake(self, when: float) -> None:
        """The keeper of the time looks at that moment, at the latest."""
        if self._keeper is None:
            keeper = threading.Thread(target=self._keep_time, name=f"{self._name}-time", daemon=True)
            try:
                self._keeper = keeper
                keeper.start()
            except RuntimeError:  # no more threads now: the next one that asks tries again
                self._keeper = None
            except BaseException:  # interrupted: it may start after all, and ends when there is another one then
                self._keeper = None
                raise
        elif when < self._wakes_at:
            self._time.notify()

    def _give_up_overdue(self, now: float) -> Callable[[], object] | None:
        """Takes the place of a call that took too long from its thread; what is left to do is to say so."""
        for thread, (deadline, task) in self._running.items():
            if deadline <= now:
                del self._running[thread]
                task.ended = True
                self._given_up.add(thread)
                another = self._new_thread() if self._tasks and self._may_grow() else None
                if another is not None:
                    self._starting.add(another)
                return partial(self._tell_overdue, task, another)
        return None

    def _tell_overdue(self, task: Task, another: threading.Thread | None) -> None:
        if another is not None:
            _start(another)
            self._started(another)
        task.done(None, TimeoutError(f"took longer than {task.timeout:g} s"))

    def _keep_time(self) -> None:
        me = threading.current_thread()
        with self._lock:
            if self._keeper not in (None, me):
                return
            self._keeper = me
        while (call := self._next_call()) is not None:
            try:
                call()
            except BaseException:
                _LOGGER.exception("a resource pool's own step failed: please report this")
            del call

    def _next_call(self) -> Callable[[], object] | None:
        with self._lock:
            while True:
                if self._stopping and not self._starting and not (self._threads - self._given_up):
                    self._keeper = None
                    return None
                now = time.monotonic()
                overdue = self._give_up_overdue(now)
                if overdue is not None:
                    return overdue
                if self._timers and self._timers[0][0] <= now:
                    return heapq.heappop(self._timers)[2]
                moments = [deadline for deadline, _ in self._running.values()]
                self._wakes_at = min(*moments, self._timers[0][0] if self._timers else math.inf, now + 10.0)
                self._time.wait(max(0.0, self._wakes_at - now))
                self._wakes_at = -math.inf  # awake: it looks at everything before it sleeps


def _start(thread: threading.Thread) -> None:
    with contextlib.suppress(RuntimeError):  # no more threads, as at the interpreter's end: those that are there do it
        thread.start()
