"""How a worker's process ends, and with which code.

    0    stopped by SIGTERM or SIGINT, by stop(), or a burst that is over; also when handlers outlived the grace period
         (their messages went back to their queues: nothing is lost, and the log and stats() say how many)
    130  forced by a second signal, SIGINT (128 + 2)
    143  forced by a second signal, SIGTERM (128 + 15)

What prevents a start is raised from ``Worker.run`` instead: ConfigurationError, TopologyMismatchError,
AuthenticationError and its like. The command line has codes for them.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import NoReturn

__all__ = ["FORCED", "OK", "end_process", "force_exit"]

OK = 0
FORCED = 128  # plus the signal's number, as shells say it

_FLUSH_SECONDS = 1.0


def end_process(code: int, *, abandoned: int = 0) -> NoReturn:
    """End the process with ``code``. With abandoned handlers at once, after flushing logs.

    A handler that never returns may hold threads that the interpreter would wait for (``asyncio.to_thread``).
    """
    if abandoned:
        force_exit(code)
    sys.exit(code)


def force_exit(code: int) -> NoReturn:
    """Flush logs and standard output, for at most a second, and end the process without anything else."""
    flushing = threading.Thread(target=_flush, name="rmqpool last words", daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)  # a thread that is stuck may hold a handler's lock
    os._exit(code)


def _flush() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
