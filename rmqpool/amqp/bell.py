"""Wakes an I/O loop from another thread: with an eventfd where there is one (Linux), in pika's own way elsewhere.

pika wakes its loop through a pair of sockets and a list of callbacks; a message that is published alone feels the difference.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from pika.adapters.select_connection import IOLoop

__all__ = ["Bell"]


class Bell:
    """``on_ring`` is called on the loop's thread, once for any number of rings before it. ``ring`` is thread-safe."""

    def __init__(self, on_ring: Callable[[], None]) -> None:
        self._on_ring = on_ring
        self._lock = threading.Lock()  # a closed descriptor's number may be somebody else's
        self._loop: IOLoop | None = None
        self._file = -1

    def hang(self, loop: IOLoop) -> None:
        """Ring in this loop from here on; whatever was rung before is heard there."""
        with self._lock:
            self._loop = loop
            if self._file < 0 and hasattr(os, "eventfd"):
                self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if self._file >= 0:
            loop.add_handler(self._file, self._hear, loop.READ)
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

    def _hear(self, _file: int, _events: int) -> None:
        os.eventfd_read(self._file)
        self._on_ring()
