"""What limits a handler inside its child process: the alarm, and the cap on memory. And whom the process obeys."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from rmqpool.worker.limits import exceeded

__all__ = ["SIGNALS", "Alarm", "MemoryCap", "die_with", "memory_in_use", "obey_only_the_parent"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What the worker decides about. A child starts with them blocked, so that none reaches it before it can be deaf to it."""

_PR_SET_PDEATHSIG = 1
_STATM = Path("/proc/self/statm")
_DATA = 5  # private memory that can be written, in pages: what RLIMIT_DATA counts (proc(5), getrlimit(2))


def obey_only_the_parent() -> None:
    """Be deaf to SIGINT, SIGTERM and SIGHUP: a Ctrl-C reaches every process of the terminal, and the worker decides.

    They have a handler that does nothing, instead of being ignored: programs that a handler starts would inherit that.
    """
    for number in SIGNALS:
        signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def die_with(parent: int) -> None:
    """End this process when ``parent`` ends, however that happens. Linux; elsewhere the end of the pipe has to do.

    The kernel takes the thread that started this process for its parent (prctl(2)): the worker keeps that one.
    """
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):  # where memory runs out, the worker with the connections is the last to go
            Path("/proc/self/oom_score_adj").write_text("500")
    if os.getppid() != parent:
        os._exit(1)


class Alarm:
    """Raises TimeLimitExceededError in the main thread after ``seconds``. Entered and left around each message."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._armed = False
        self._postponed = 0
        self._late = False
        if seconds is not None:
            signal.signal(signal.SIGALRM, self._ring)

    def __enter__(self) -> None:
        if self._seconds is not None:
            self._late = False
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._armed = False  # Python may run its handler a little later: that is too late

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """Does not ring inside (half a value in the pipe would be the end of it), but right after."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's
            return
        self._postponed += 1
        try:
            yield
        finally:
            self._postponed -= 1
        if self._late and not self._postponed:
            self._late = False
            self._ring(0, None)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._postponed:
            self._late = True
        elif self._armed and self._seconds is not None:
            raise exceeded(self._seconds)


class MemoryCap:
    """MemoryError for whatever would take more than ``most`` bytes. Entered and left around each message: what the child
    itself needs to tell of it does not count.
    """

    def __init__(self, most: int | None) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        hard = self._before[1]
        self._most = most if most is None or hard == resource.RLIM_INFINITY else min(most, hard)

    def __enter__(self) -> None:
        if self._most is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (self._most, self._before[1]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._most is not None:
            resource.setrlimit(resource.RLIMIT_DATA, self._before)


def memory_in_use() -> int:
    """Bytes of private memory; where there is no /proc, the most that was ever resident."""
    try:
        return int(_STATM.read_text().split()[_DATA]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _nothing(number: int, frame: FrameType | None) -> None:
    """See obey_only_the_parent."""
