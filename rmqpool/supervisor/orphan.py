"""The end of a worker process that cannot hear that its supervisor is gone, because a handler holds the interpreter's lock.

No Python runs there, no thread and no signal handler. So the kernel is asked for a signal when the supervisor ends (prctl(2)),
and what handles it is a function of the C library: ``alarm``, which takes the signal's number for its seconds. Whoever hears of
the end in Python sets a time of its own; else SIGALRM ends the process.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import Any

__all__ = ["end_after", "end_with_the_supervisor"]

_PR_SET_PDEATHSIG = 1


def end_with_the_supervisor(number: int | None = None) -> None:
    """End this process some seconds after its parent, whatever holds the lock: as many as signal ``number`` says (SIGRTMAX: 64).

    The parent is the thread that started this process. Linux; elsewhere nothing happens.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError):
        number, libc = number or _number(), _libc()
        libc.signal(number, _pointer(libc.alarm))
        libc.prctl(_PR_SET_PDEATHSIG, number)


def end_after(seconds: float, number: int | None = None) -> None:
    """End this process after so many seconds at the latest, in the place of what was said before. From any thread."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        _libc().signal(number or _number(), _pointer(int(signal.SIG_IGN)))  # the kernel may tell it only now
        signal.alarm(int(seconds) + 1)


def _number() -> int:
    return int(signal.SIGRTMAX)


def _libc() -> Any:
    if sys.platform != "linux":
        raise OSError("prctl is Linux's")
    import ctypes

    return ctypes.CDLL(None)


def _pointer(function: Any) -> Any:
    import ctypes

    return ctypes.cast(function, ctypes.c_void_p)
