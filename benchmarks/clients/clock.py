"""The measured window inside a client process: wall clock and CPU seconds, both as differences.

Start-up, connecting and the first message are outside of it.
"""

from __future__ import annotations

import itertools
import resource
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

__all__ = ["Clock", "Tally", "peak_memory"]


class Clock:
    """``with clock:`` around the measured messages; or :meth:`start` and :meth:`stop`, from any thread, once each."""

    def __init__(self) -> None:
        self._started: tuple[float, float] | None = None
        self._stopped: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin the window."""
        self._started = (time.perf_counter(), _cpu_seconds())

    def stop(self) -> None:
        """End the window."""
        self._stopped = (time.perf_counter(), _cpu_seconds())

    @property
    def seconds(self) -> float:
        """The length of the window. RuntimeError if it was not started, or not stopped."""
        return self._difference(0)

    @property
    def cpu_seconds(self) -> float:
        """User and system time of this process and its ended children, within the window."""
        return self._difference(1)

    def _difference(self, index: int) -> float:
        if self._started is None or self._stopped is None:
            raise RuntimeError("the client did not start and stop its clock")
        return self._stopped[index] - self._started[index]

    def __enter__(self) -> Clock:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Tally:
    """Counts deliveries: the first one starts the clock, the last one stops it and sets ``done``. Thread-safe.

    Call it when the delivery was acknowledged, or, where the client acknowledges by itself, at the handler's end.
    """

    def __init__(self, clock: Clock, expected: int) -> None:
        self.done = threading.Event()
        self._clock = clock
        self._expected = expected
        self._numbers = itertools.count(1)  # next() is one step under the GIL

    def count_one(self) -> bool:
        """Count a delivery; True for the last one."""
        number = next(self._numbers)
        if number == 1:
            self._clock.start()
        if number != self._expected:
            return False
        self._clock.stop()
        self.done.set()
        return True


def peak_memory() -> int:
    """The highest resident size of this process so far, in bytes.

    Linux tells it as VmHWM (proc(5)). ru_maxrss would also hold the size of whoever started this program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
