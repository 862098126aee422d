"""The worker's end of its tie to a supervisor: it tells its health there, and stops when the supervisor is gone.

The tie is a socket pair. A supervisor that is killed closes its end, whatever killed it: the worker reads the end of the file
and stops in good order, as for SIGTERM. The descriptor's number comes in the environment, which is cleaned at once: no
program that a handler starts takes it for its own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import MutableMapping

from rmqpool.health.values import Health
from rmqpool.supervisor.orphan import end_after, end_with_the_supervisor
from rmqpool.worker.exits import FORCED, force_exit
from rmqpool.worker.signals import leave_forcing_to_a_supervisor

__all__ = ["VARIABLE", "SupervisorLink"]

VARIABLE = "RMQPOOL_SUPERVISOR_FD"
_LOGGER = logging.getLogger("rmqpool")
_TELL_EVERY = 1.0  # seconds, and at once what has changed
_BEYOND_GRACE = 20.0
_FORCING = 5.0  # seconds


class SupervisorLink:
    """Over the descriptor ``number``. A sink of health. It reads on a thread of its own, from the start."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=number)
        self._socket.set_inheritable(False)
        self._told: tuple[bool, bool, str] | None = None
        self._told_at = 0.0
        self._grace = 0.0
        self._closed = False
        threading.Thread(target=self._wait_for_the_end, name="rmqpool supervisor link", daemon=True).start()

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> SupervisorLink | None:
        """None if this process has no supervisor. The variable is removed; so is what was meant for the supervisor alone."""
        number = environment.pop(VARIABLE, "")
        if not number.isdecimal():
            return None
        with contextlib.suppress(Exception):  # a process without stderr
            faulthandler.enable()  # a supervisor ends a process that hangs with SIGABRT: it tells then where it hung
        leave_forcing_to_a_supervisor()
        end_with_the_supervisor()
        return cls(int(number))

    def show(self, health: Health) -> None:
        """Tell the supervisor."""
        told = (health.alive, health.ready, health.state)
        now = time.monotonic()
        self._grace = float(health.details.get("grace", self._grace))
        if told == self._told and now - self._told_at < _TELL_EVERY:
            return
        with contextlib.suppress(OSError):  # it is gone, which the thread has noticed; or it is suspended
            self._socket.send(json.dumps(health.as_json()).encode(), socket.MSG_DONTWAIT)
            self._told, self._told_at = told, now

    def close(self) -> None:
        """Nothing is told any more. The process ends."""
        self._closed = True

    def _wait_for_the_end(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(1):
                pass
        if self._closed:
            return
        end_after(self._grace + _BEYOND_GRACE + _FORCING)
        _LOGGER.warning("the supervisor of this worker is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(self._grace + _BEYOND_GRACE)
        _LOGGER.error("this worker did not stop in good order: it ends at once")
        force_exit(FORCED + signal.SIGTERM)
