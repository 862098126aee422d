"""One worker process as its supervisor has it: a fresh interpreter, and the supervisor's end of the tie to it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from rmqpool.supervisor.link import VARIABLE
from rmqpool.supervisor.options import SupervisorOptions

__all__ = ["WorkerProcess", "describe_end"]

_NOT_FOR_CHILDREN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # systemd knows the supervisor only
_ENOUGH = 64 * 1024  # bytes of one report
_BEYOND_GRACE = 15.0  # seconds: closing channels and connections
_TELLING = 2.0  # seconds to write where it hangs
_LATE = 10.0  # seconds without a sign of life


class WorkerProcess:
    """Starts at once. OSError if it cannot be started. For one thread."""

    def __init__(self, place: int, options: SupervisorOptions) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: text for name, text in options.environment.items() if name not in _NOT_FOR_CHILDREN}
        environment[VARIABLE] = str(theirs.fileno())
        self.place = place
        self.socket = ours
        self.socket.setblocking(False)
        self.started_at = self._heard_at = time.monotonic()
        self._heard = False
        self._grace = options.grace
        self._report: Mapping[str, Any] = {}
        self._kill_at: float | None = None
        self.is_open = True  # something may be read from the socket
        self.was_told_to_stop = False
        self.was_aborted = False
        try:
            self._popen = subprocess.Popen(
                options.command,
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is heard by the supervisor alone, which stops them
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def is_ready(self) -> bool:
        """True if it said so last, and was not told to stop."""
        return bool(self._report.get("ready")) and not self.was_told_to_stop

    def read(self, now: float) -> None:
        """Take what it has told."""
        try:
            while data := self.socket.recv(_ENOUGH):
                with contextlib.suppress(ValueError):
                    report = json.loads(data)
                    if isinstance(report, dict):
                        self._take(report, now)
            self.is_open = False
        except BlockingIOError:
            return
        except ConnectionError:
            self.is_open = False

    def _take(self, report: Mapping[str, Any], now: float) -> None:
        self._report = report
        self._grace = float(report.get("grace", self._grace))
        if report.get("alive"):
            self._heard = True
            self._heard_at = now

    def forgive(self, now: float) -> None:
        """The supervisor itself was suspended until ``now``: the silence tells nothing."""
        self._heard_at = now

    def silence(self, now: float) -> float:
        """Seconds without a sign of life; 0 until the first one: importing may take long."""
        return now - self._heard_at if self._heard else 0.0

    def is_alive(self, now: float) -> bool:
        """False if it hangs."""
        return self.silence(now) < _LATE

    def end_of(self) -> int | None:
        """How it ended, as subprocess tells it; None while it runs."""
        return self._popen.poll()

    def stop(self, now: float, most: float | None = None) -> None:
        """Tell it to stop in good order: it has its grace, ``most`` seconds of it, and is killed after that. Idempotent."""
        self.was_told_to_stop = True
        if self._kill_at is None:
            grace = self._grace + _BEYOND_GRACE
            self._kill_at = now + (grace if most is None else min(grace, most))
            self._popen.send_signal(signal.SIGTERM)

    def is_overdue(self, now: float) -> bool:
        """True if it was told to stop, and its time is over."""
        return self._kill_at is not None and now >= self._kill_at

    def abort(self, now: float) -> None:
        """End it so that it tells where it hangs (faulthandler); it is killed if it does not end."""
        self.was_aborted = True
        self._kill_at = now + _TELLING
        self._popen.send_signal(signal.SIGABRT)

    def kill(self) -> None:
        """At once. Its messages come again."""
        self._popen.kill()

    def close(self) -> None:
        """Let go of what is left of it: it has ended, or is killed now."""
        if self._popen.poll() is None:
            self._popen.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(5.0)
        self.socket.close()

    def told(self, now: float) -> dict[str, Any]:
        """For the health's details."""
        return {
            "process": self.place,
            "pid": self.pid,
            "state": self._report.get("state", "starting"),
            "ready": self.is_ready,
            "alive": self.is_alive(now),
        }


def describe_end(code: int) -> str:
    """An exit code as words: ``with 1``, ``by SIGKILL``."""
    if code >= 0:
        return f"with {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
