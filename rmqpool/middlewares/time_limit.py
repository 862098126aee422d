"""A limit for the time of a handling: kept for coroutines, watched for threads."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from itertools import takewhile
from typing import Any

from rmqpool.core.ports import ConsumerPort
from rmqpool.errors import ConfigurationError, TimeLimitExceededError
from rmqpool.message import Delivery
from rmqpool.middleware import Middleware
from rmqpool.middlewares.ends import id_of

__all__ = ["TimeLimit"]

_LOGGER = logging.getLogger("rmqpool")
_FRAMES = 20
_JOIN = 1.0  # seconds for the watching thread to end


class TimeLimit(Middleware):
    """``seconds`` for each handling, hooks of later middleware and the inbox's transaction included.

    An ``async def`` handler is cancelled then: ``asyncio.CancelledError`` is raised where it waits, and its message fails
    with TimeLimitExceededError, which a retry policy may try again. A coroutine that never awaits cannot be cancelled.

    **A thread cannot be stopped.** A ``def`` handler that takes longer is reported once, with the line where it is, and
    goes on: when it returns, its message is acknowledged, as it was handled. Only a child process can be stopped for good
    (``@worker.consumer(…, executor="process", time_limit=…)``). Consumers of batches are refused.

    Raises ConfigurationError. Thread-safe; while consumers run it has one thread, which watches the others.
    """

    def __init__(self, seconds: float) -> None:
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not (number and 0 < seconds <= 7 * 86_400):
            raise ConfigurationError(f"TimeLimit({seconds!r}): give seconds, more than 0 and at most seven days")
        self._seconds = seconds
        self._watched: dict[_Watched, None] = {}  # the oldest first
        self._consumers = 0
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None
        self._stop = threading.Event()
        self.exceeded = 0
        """Handlings that took too long so far."""

    def consumer_started(self, consumer: ConsumerPort) -> None:
        if consumer.takes_batches:
            raise ConfigurationError(
                f"TimeLimit stands around the consumer of queue {consumer.queue!r}, which takes batches, and its limit is for "
                "one message: give the consumer a time_limit instead"
            )
        with self._lock:
            self._consumers += 1
            if self._watch is None:
                self._stop = threading.Event()
                self._watch = threading.Thread(
                    target=self._look, args=(self._stop,), name="rmqpool time limit", daemon=True
                )
                self._watch.start()

    def consumer_stopped(self, consumer: ConsumerPort) -> None:
        with self._lock:
            self._consumers -= 1
            if self._consumers or self._watch is None:
                return
            watch, self._watch = self._watch, None
            self._stop.set()
        watch.join(_JOIN)

    def before_handle(self, delivery: Delivery) -> _Watched | _Cancelled:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            watched = _Watched(delivery, time.monotonic() + self._seconds)
            with self._lock:
                self._watched[watched] = None
            return watched
        return _Cancelled(loop, self._seconds)

    def after_handle(self, delivery: Delivery, state: _Watched | _Cancelled, result: Any) -> None:
        self._end(state)

    def on_handle_error(
        self, delivery: Delivery, state: _Watched | _Cancelled, error: BaseException
    ) -> BaseException | None:
        self._end(state)
        if isinstance(state, _Watched) or not (state.expired and issubclass(type(error), asyncio.CancelledError)):
            return None
        if not state.was_all():
            return None  # the worker wanted it to end, too
        exceeded = TimeLimitExceededError(
            f"the handler took longer than its time limit of {self._seconds:g} s: give it more, or make it do less"
        )
        exceeded.__cause__ = error
        return exceeded

    def _end(self, state: _Watched | _Cancelled) -> None:
        if isinstance(state, _Cancelled):
            state.timer.cancel()
            if state.expired:
                with self._lock:
                    self.exceeded += 1
        else:
            with self._lock:
                self._watched.pop(state, None)

    # The watching thread

    def _look(self, stop: threading.Event) -> None:
        while not stop.wait(self._pause()):
            for watched in self._overdue(time.monotonic()):
                self._report(watched)

    def _overdue(self, now: float) -> list[_Watched]:
        with self._lock:
            found = [one for one in takewhile(lambda one: one.due <= now, self._watched) if not one.reported]
            for watched in found:
                watched.reported = True
            self.exceeded += len(found)
        return found

    def _pause(self) -> float:
        """Seconds until the next one may be due."""
        now = time.monotonic()
        with self._lock:
            due = next((one.due for one in self._watched if not one.reported), now + self._seconds)
        return max(0.01, due - now)

    def _report(self, watched: _Watched) -> None:
        frame = sys._current_frames().get(watched.thread)
        where = "".join(traceback.format_stack(frame, _FRAMES)) if frame is not None else "(it has just ended)"
        del frame
        _LOGGER.warning(
            "message %s of queue %r is being handled for more than %g s; a thread cannot be stopped, and it goes on here:\n%s",
            watched.message_id or "without id",
            watched.queue,
            self._seconds,
            where,
        )


class _Watched:
    """A handling on a thread."""

    __slots__ = ("due", "message_id", "queue", "reported", "thread")

    def __init__(self, delivery: Delivery, due: float) -> None:
        self.due = due
        self.thread = threading.get_ident()
        self.queue = delivery.queue
        self.message_id = id_of(delivery)
        self.reported = False


class _Cancelled:
    """A handling on an event loop, as ``asyncio.timeout`` does it."""

    __slots__ = ("_cancelling", "_task", "expired", "timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self.expired = False
        self.timer = loop.call_later(seconds, self._expire)

    def was_all(self) -> bool:
        """True if nobody but the limit has cancelled the task."""
        return self._task is None or self._task.uncancel() <= self._cancelling

    def _expire(self) -> None:
        self.expired = True
        if self._task is not None:
            self._task.cancel()
