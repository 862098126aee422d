"""What systemd wants to be told of a service: sd_notify(3), a few lines over a datagram socket.

READY=1 when the worker has subscribed for the first time; a broker that is away at the start, and a long grace period at the end,
extend systemd's own timeouts (EXTEND_TIMEOUT_USEC): the worker waits on purpose. WATCHDOG=1 comes only while the worker is
alive. Without NOTIFY_SOCKET nothing of this happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from rmqpool.health.values import Health

__all__ = ["SystemdNotifier"]

_EXTENSION = 30.0  # seconds
_EXTEND_EVERY = 10.0
_STATUS_EVERY = 10.0  # while only its figures change
_MICROSECONDS = 1_000_000


class SystemdNotifier:
    """Tells the service manager at ``address``: a path, or ``@name`` in the abstract namespace.

    ``watchdog``: seconds within which it wants a sign of life; None if it wants none. For one thread.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._every = None if watchdog is None else watchdog / 2  # as sd_watchdog_enabled(3) recommends
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._was_ready = False
        self._told: tuple[bool, bool, str] | None = None
        self._text = ""
        self._times: dict[str, float] = {}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> SystemdNotifier | None:
        """None if no service manager listens."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        return cls(address, _watchdog_of(environment))

    def show(self, health: Health) -> None:
        """Tell what has changed, and what is due."""
        now = time.monotonic()
        lines = []
        before = self._told[2] if self._told is not None else "starting"
        if health.state == "reloading" and before != "reloading":
            lines += ["RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"]
        if health.state == "stopping" and before != "stopping":
            lines.append("STOPPING=1")
        if (health.ready and health.state == "running" and not self._was_ready) or (
            before == "reloading" and health.state == "running"
        ):
            lines.append("READY=1")
            self._was_ready = True
        if health.alive and self._extends(health.state) and self._due("extend", _EXTEND_EVERY, now):
            lines.append(f"EXTEND_TIMEOUT_USEC={int(_EXTENSION * _MICROSECONDS)}")
        if health.alive and self._every is not None and self._due("watchdog", self._every, now):
            lines.append("WATCHDOG=1")
        told = (health.alive, health.ready, health.state)
        if told != self._told or (health.text != self._text and self._due("status", _STATUS_EVERY, now)):
            self._times["status"] = now
            self._text = health.text
            lines.append(f"STATUS={' '.join(health.text.split())}")
        self._told = told
        if lines:
            self._send(lines)

    def close(self) -> None:
        """STOPPING=1, if that was not told, and no more."""
        if self._socket.fileno() < 0:
            return
        if self._told is None or self._told[2] != "stopping":
            self._send(["STOPPING=1"])
        self._socket.close()

    def _extends(self, state: str) -> bool:
        return (state == "starting" and not self._was_ready) or state in ("stopping", "reloading")

    def _due(self, what: str, every: float, now: float) -> bool:
        if what in self._times and now - self._times[what] < every:
            return False
        self._times[what] = now
        return True

    def _send(self, lines: list[str]) -> None:
        with contextlib.suppress(OSError):  # a manager that does not listen keeps no worker from its work
            self._socket.sendto("\n".join(lines).encode(), self._address)


def _watchdog_of(environment: Mapping[str, str]) -> float | None:
    """Seconds; None if there is no watchdog, or if it is another process' (WATCHDOG_PID)."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / _MICROSECONDS
