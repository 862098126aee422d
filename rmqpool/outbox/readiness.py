"""Waiting for file descriptors, and being woken from it. ``poll`` and not ``select``: a service may well have more than
1,024 of them open.
"""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Iterable

__all__ = ["WakeUp", "wait_readable"]


def wait_readable(descriptors: Iterable[int], seconds: float) -> set[int]:
    """Those that can be read, or whose other end is gone, within ``seconds``; empty if none can."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(math.ceil(max(0.0, seconds) * 1000))}


class WakeUp:
    """Wakes one thread that waits for its descriptor; :meth:`ring` may be called from any."""

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._out.fileno()

    def ring(self) -> None:
        """Wake it."""
        try:
            self._in.send(b"!")
        except (BlockingIOError, OSError):  # it is awake anyway, or has ended
            return

    def drain(self) -> None:
        """It is awake: forget what has rung so far."""
        try:
            self._out.recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Release both ends."""
        self._in.close()
        self._out.close()
