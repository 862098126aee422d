"""SIGTERM and SIGINT as a queue that the main thread reads. The handlers only append: they may interrupt anything.

``SimpleQueue.put`` is the one hand-over in the standard library that is safe inside a signal handler (it is reentrant); an
Event or a Condition could be held by the very code that was interrupted.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any

__all__ = ["SignalListener", "leave_forcing_to_a_supervisor", "may_force"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# The kernel may hand a signal to another thread (it does so right after SIGCONT). Python runs the handler in this one, which
# has to come out of its waiting for that.
_TURN = 0.5  # seconds
_FORCING = threading.Event()
_FORCING.set()


def leave_forcing_to_a_supervisor() -> None:
    """A second signal is not to end this process at once: its supervisor and systemd may each send one, and one of them
    kills what does not end.
    """
    _FORCING.clear()


def may_force() -> bool:
    """True unless a supervisor does it."""
    return _FORCING.is_set()


class SignalListener:
    """Listens while its ``with`` block runs; restores what was installed before. Off the main thread it hears nothing."""

    def __init__(self) -> None:
        self._heard: SimpleQueue[int | None] = SimpleQueue()
        self._before: dict[int, Any] = {}
        self.heard = 0  # signals that wait() has returned
        self.on_turn: Callable[[], None] = _nothing  # called at least every half second by who waits

    def wait(self) -> int | None:
        """The next signal's number; None after :meth:`wake`."""
        number = self._next()
        self.heard += number is not None
        return number

    def _next(self) -> int | None:
        while True:
            self.on_turn()
            try:
                return self._heard.get(timeout=_TURN)
            except Empty:
                continue

    def wake(self) -> None:
        """End the waiting. Thread-safe."""
        self._heard.put(None)

    def __enter__(self) -> SignalListener:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._heard.put(number)


def _nothing() -> None:
    """Nobody wants to know."""
