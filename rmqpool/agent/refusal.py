"""Hears that the broker does not let a link in."""

from __future__ import annotations

from collections.abc import Callable

from rmqpool.amqp.connection import Connection
from rmqpool.errors import ConnectionFailedError, RmqpoolError

__all__ = ["RefusalListener"]


class RefusalListener:
    """An actor that may stand on several links. ``function`` is called on their I/O threads."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def link_refused(self, error: ConnectionFailedError) -> None:
        self._function()

    def link_up(self, connection: Connection, epoch: int) -> None: ...
    def link_down(self, error: RmqpoolError) -> None: ...
    def link_blocked(self, reason: str) -> None: ...
    def link_unblocked(self) -> None: ...
