"""What a supervisor waits for: signals, reports, the end of a process, a changed file. All of it wakes one ``select``."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Wakeup"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_NUDGE = b"\0"  # no signal has this number


class Wakeup:
    """Hears signals while its ``with`` block runs, which must be in the main thread; restores what was there before."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._before: dict[int, Any] = {}
        self._fd_before = -1

    def __enter__(self) -> Wakeup:
        self._fd_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, _only_wake)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # a SIGTERM that came while this program was loaded
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._fd_before)
        self._read.close()
        self._write.close()

    def nudge(self) -> None:
        """End the waiting. Thread-safe."""
        with contextlib.suppress(OSError):  # it is full, and so wakes anyway; or closed
            self._write.send(_NUDGE)

    def wait(self, sockets: Iterable[socket.socket], timeout: float) -> list[int]:
        """Wait until something can be read, a signal comes or ``timeout`` seconds are over; returns the signals' numbers."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        for one in sockets:
            poll.register(one, select.POLLIN)
        poll.poll(max(0.0, timeout) * 1000)
        heard: list[int] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._read.recv(4096):
                heard += [number for number in data if number not in (0, signal.SIGCHLD)]
        return heard


def _only_wake(_number: int, _frame: FrameType | None) -> None:
    """The number is written to the socket by the interpreter itself."""
