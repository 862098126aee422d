"""What reaches ``rmqpool worker --processes`` while it is still being loaded: a reload must not end it, nor a stop get lost.

Until a program has handlers, both signals end it, or, as the first process of a container, are thrown away by the kernel.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

__all__ = ["LINK_VARIABLE", "hold_signals"]

_SUPERVISING = ("--processes", "--reload")
LINK_VARIABLE = "RMQPOOL_SUPERVISOR_FD"  # as rmqpool.supervisor.link has it, which loads much


def hold_signals(arguments: Sequence[str]) -> bool:
    """If this command line is a supervisor's: SIGTERM waits in the kernel until ``rmqpool.supervisor.wakeup`` has its
    handlers, and SIGHUP means nothing until then: every process that starts after it is new. Returns whether it is.

    Before any other thread starts, in the main thread.
    """
    if list(arguments[:1]) != ["worker"] or LINK_VARIABLE in os.environ:
        return False
    if not any(argument.partition("=")[0] in _SUPERVISING for argument in arguments):
        return False
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    return True
