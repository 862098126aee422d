"""Starts the child processes of one consumer, knows all that live, and ends them.

One thread starts them all and outlives them: the kernel ties a child to the thread that started it. That thread has the
signals blocked which children are to be deaf to, and they inherit it.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rmqpool.core.backoff import Backoff
from rmqpool.errors import ChildStartError
from rmqpool.worker.children.guards import SIGNALS
from rmqpool.worker.children.process import ChildProcess
from rmqpool.worker.children.protocol import Setup

__all__ = ["Starter", "StoppingError"]

_LOGGER = logging.getLogger("rmqpool")
_READY_TIMEOUT = 60.0  # seconds that the import of the handler's module may take
_ATTEMPTS = 5
_PAUSES = Backoff(0.1, 2.0)
_GOODBYE = 5.0  # seconds that a retired child gets to end by itself
_TURN = 0.2


class StoppingError(Exception):
    """The worker stops: no child is started any more."""


class Starter:
    """``make_setup`` is asked for each child. Thread-safe; ``close`` is for the end."""

    def __init__(self, name: str, make_setup: Callable[[], Setup]) -> None:
        self._make_setup = make_setup
        self._lock = threading.Lock()
        self._living: set[ChildProcess] = set()
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(
            1, name, initializer=signal.pthread_sigmask, initargs=(signal.SIG_BLOCK, SIGNALS)
        )

    @property
    def is_stopping(self) -> bool:
        """True once no child is started any more."""
        return self._stopping.is_set()

    def begin(self) -> Future[ChildProcess]:
        """Begin to start a child; returns at once. Raises StoppingError."""
        try:
            return self._thread.submit(self._start)
        except RuntimeError:
            raise StoppingError from None

    def ready(self, begun: Future[ChildProcess] | None = None) -> ChildProcess:
        """A child that has loaded the handler; ``begun`` is used if it is given.

        Raises ConfigurationError if the handler cannot be loaded, ChildStartError if five attempts failed, StoppingError.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._wait_ready(begun if begun is not None else self.begin())
            except (ChildStartError, OSError) as error:
                if self._stopping.is_set():
                    raise StoppingError from None
                if attempt >= _ATTEMPTS:
                    raise ChildStartError(
                        f"{attempt} child processes in a row did not start; the last: {error}"
                    ) from error
                _LOGGER.warning("%s; the next one in %g s", error, _PAUSES.ceiling(attempt))
            begun = None
            if self._stopping.wait(_PAUSES.ceiling(attempt)):
                raise StoppingError

    def stop(self) -> None:
        """Start no more; whoever waits for one is let go."""
        self._stopping.set()

    def wait_stopping(self, timeout: float) -> bool:
        """Wait for :meth:`stop`; False if it was not called within ``timeout`` seconds."""
        return self._stopping.wait(timeout)

    def bury(self, child: ChildProcess) -> None:
        """It has ended."""
        if child.wait(_GOODBYE):
            with self._lock:
                self._living.discard(child)

    def kill_busy(self) -> None:
        """Kill every child that is at a message: the worker waits no longer."""
        self._stopping.set()
        for child in self._children():
            if child.busy:
                child.kill(stopping=True)

    def close(self, timeout: float) -> bool:
        """End all children: in good order, and after ``timeout`` seconds (at most 5) by force. False if one is left."""
        self._stopping.set()
        with contextlib.suppress(RuntimeError):  # closed before
            self._thread.submit(lambda: None).result(timeout=_READY_TIMEOUT)  # what was being started has been started
        deadline = time.monotonic() + min(timeout, _GOODBYE)
        children = self._children()
        for child in children:
            child.retire()
        for child in children:
            if not child.wait(max(0.0, deadline - time.monotonic())):
                child.kill()
        buried = [child.wait(_GOODBYE) for child in children]
        self._thread.shutdown(wait=True)
        return all(buried)

    def _children(self) -> list[ChildProcess]:
        with self._lock:
            return list(self._living)

    def _wait_ready(self, begun: Future[ChildProcess]) -> ChildProcess:
        while True:
            try:
                child = begun.result(_TURN)
                break
            except TimeoutError:
                if begun.done():
                    raise
        try:
            child.wait_ready(_READY_TIMEOUT, self._stopping.is_set)
        except BaseException:
            child.kill()
            self.bury(child)
            raise
        return child

    def _start(self) -> ChildProcess:
        """On the thread that starts them."""
        if self._stopping.is_set():
            raise StoppingError
        self._bury_retired()
        child = ChildProcess(self._make_setup())
        with self._lock:
            self._living.add(child)
        if self._stopping.is_set():
            child.kill(stopping=True)
        return child

    def _bury_retired(self) -> None:
        for child in self._children():
            if child.retired_at:
                if time.monotonic() - child.retired_at > _GOODBYE:
                    child.kill()
                if child.wait(0.0):
                    with self._lock:
                        self._living.discard(child)
