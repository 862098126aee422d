"""Django's own pool (``OPTIONS["pool"]``, since Django 5.1), which Django asks without a deadline: with ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["bounded"]


class _Bounded:
    """What Django's connection asks of its pool: the wait ends at ``deadline``, or with the pool's own time before that."""

    def __init__(self, pool: Any, deadline: float) -> None:
        self._pool, self._deadline = pool, deadline

    def open(self) -> None:
        self._pool.open()

    def getconn(self) -> Any:
        return self._pool.getconn(min(self._pool.timeout, max(0.0, self._deadline - time.monotonic())))


@contextlib.contextmanager
def bounded(connection: Any, deadline: float) -> Iterator[None]:
    """Within the block this connection of Django's waits for its pool until ``deadline`` (monotonic) at most.

    Django finds the pool in a dict of the connection's class; here one of the connection itself hides it. A Django that
    has none is left as it is.
    """
    pool = getattr(connection, "pool", None)
    if pool is None or not hasattr(connection, "_connection_pools"):
        yield
        return
    connection._connection_pools = {connection.alias: _Bounded(pool, deadline)}
    try:
        yield
    finally:
        del connection._connection_pools
