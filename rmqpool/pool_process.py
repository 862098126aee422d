"""Pools and their process: a forked child's pools start empty, and what is still open is closed at the interpreter's end."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from typing import Any, Protocol

__all__ = ["INHERITED", "POOLS", "LivingPool"]

_LOGGER = logging.getLogger("rmqpool")
_AT_EXIT = 5.0  # seconds that an interpreter's end waits for messages on their way
_LEAST = 0.2  # seconds for each of many pools


class LivingPool(Protocol):
    """What a pool in :data:`POOLS` can do."""

    @property
    def closed(self) -> bool: ...
    @property
    def owner(self) -> int: ...
    def close(self, timeout: float = 5.0) -> bool: ...
    def after_fork_in_child(self) -> None: ...


POOLS: weakref.WeakSet[LivingPool] = weakref.WeakSet()
"""Every pool that is not closed."""

INHERITED: list[Any] = []
"""Keeps the parent's sockets referenced: collecting them could speak on the parent's TLS stream."""


def _after_fork_in_child() -> None:
    for pool in list(POOLS):
        pool.after_fork_in_child()


def _close_at_exit() -> None:
    """No thread can be started any more, so one after the other: many pools share the time."""
    pools = [pool for pool in list(POOLS) if pool.owner == os.getpid() and not pool.closed]
    deadline = time.monotonic() + _AT_EXIT
    for number, pool in enumerate(pools):
        left = deadline - time.monotonic()
        if not pool.close(timeout=max(_LEAST, left / (len(pools) - number))):
            _LOGGER.warning("messages were still on their way when the interpreter ended")


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_at_exit)
