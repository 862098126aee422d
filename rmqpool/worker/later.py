"""The worker's own background thread: what must not run on an I/O thread, and what has to wait for its time."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

__all__ = ["Later"]

_LOGGER = logging.getLogger("rmqpool")


class Later:
    """Runs functions one after the other, at once or after a delay. Thread-safe; the thread starts with the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._serials = itertools.count()
        self._thread: threading.Thread | None = None
        self._hurried = False
        self._closed = False

    def call(self, function: Callable[[], None], delay: float = 0.0) -> None:
        """Run ``function`` after ``delay`` seconds; at once when hurried. Nothing happens once this is closed."""
        with self._changed:
            if self._closed:
                return
            due = 0.0 if delay <= 0 or self._hurried else time.monotonic() + delay
            heapq.heappush(self._entries, (due, next(self._serials), function))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def hurry(self) -> None:
        """Everything that waits for its time runs now, and everything to come runs at once."""
        with self._changed:
            self._hurried = True
            self._entries = [(0.0, serial, function) for _, serial, function in self._entries]
            heapq.heapify(self._entries)
            self._changed.notify()

    @property
    def hurried(self) -> bool:
        """True once nothing waits any more."""
        return self._hurried

    def drain(self, timeout: float) -> bool:
        """Wait until everything handed over so far was run (when hurried); False if it was not in ``timeout`` seconds."""
        reached = threading.Event()
        self.call(reached.set)
        return reached.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Forget what was not run, and end the thread; False if it still runs after ``timeout`` seconds."""
        with self._changed:
            self._closed = True
            self._entries.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            return not thread.is_alive()
        return True

    def _run(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except Exception:
                _LOGGER.exception("a background step of the worker failed")
            del function

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                if not self._entries:
                    self._changed.wait()
                    continue
                remaining = self._entries[0][0] - time.monotonic()
                if remaining <= 0:
                    return heapq.heappop(self._entries)[2]
                self._changed.wait(remaining)
            return None
