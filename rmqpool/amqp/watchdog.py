"""The last-byte watchdog: a peer that says nothing for one and a half heartbeats is dead. I/O thread only.

pika's own checker gives up after up to 2 × (heartbeat + 5) seconds; a broker sends something each half heartbeat
(https://www.rabbitmq.com/docs/heartbeats), so that silence is noticed within 2 × heartbeat here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rmqpool.amqp.connection import Connection
from rmqpool.amqp.io_thread import IOThread, Timer

__all__ = ["Watchdog"]

_SILENCE = 1.5  # heartbeats without a byte
_LOOKS = 8  # looks a heartbeat


class Watchdog:
    """Watches one connection until it is stopped; ``on_silence`` gets the seconds of silence and the heartbeat, once."""

    def __init__(
        self, thread: IOThread, connection: Connection, heartbeat: float, on_silence: Callable[[float, float], None]
    ) -> None:
        self._thread = thread
        self._connection = connection
        self._heartbeat = heartbeat
        self._on_silence = on_silence
        connection.last_byte_at = time.monotonic()
        self._timer: Timer | None = None
        self._look_again()

    def stop(self) -> None:
        """Watch no longer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        silent_for = time.monotonic() - self._connection.last_byte_at
        if silent_for >= _SILENCE * self._heartbeat:
            self._timer = None
            self._on_silence(silent_for, self._heartbeat)
        else:
            self._look_again()

    def _look_again(self) -> None:
        self._timer = self._thread.call_later(self._heartbeat / _LOOKS, self._look)
