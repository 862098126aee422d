"""Wakes an I/O loop from another thread: with an eventfd where there is one (Linux), in the loop's own way elsewhere.

Any number of rings is one call; a message that is published alone feels each call more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from rmqpool.amqp.epoll_loop import EpollLoop

__all__ = ["Bell"]


class Bell:
    """``on_ring`` is called on the loop's thread, once for any number of rings before it. ``ring`` is thread-safe."""

    def __init__(self, on_ring: Callable[[], None]) -> None:
        self._on_ring = on_ring
        self._lock = threading.Lock()  # a closed descriptor's number may be somebody else's
        self._loop: Any = None
        self._file = -1

    def hang(self, loop: Any) -> None:
        """Ring in this loop from here on; whatever was rung before is heard there."""
        with self._lock:
            self._loop = loop
            if self._file < 0 and isinstance(loop, EpollLoop):
                self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if self._file >= 0:
            # Edge-triggered: a ring need not be read away before the next one is heard.
            loop.add_handler(self._file, lambda _file, _events: self._on_ring(), loop.READ | loop.EDGE)
        self.ring()

    def ring(self) -> None:
        """Wake the loop."""
        with self._lock:
            if self._file >= 0:
                os.eventfd_write(self._file, 1)
            elif self._loop is not None:
                self._loop.add_callback_threadsafe(self._on_ring)

    def take_down(self) -> None:
        """The loop has ended: ringing does nothing any more."""
        with self._lock:
            self._loop = None
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
