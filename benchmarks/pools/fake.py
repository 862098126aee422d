"""The resource that every pool is given: it takes a while to open, is counted, and does nothing else.

psycopg_pool asks a connection for its transaction status, SQLAlchemy's pool may roll back: both are answered at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

__all__ = ["AsyncFake", "Factory", "Fake"]


class _Idle:
    """What psycopg_pool looks at when a connection comes back; 0 is libpq's PQTRANS_IDLE."""

    transaction_status = 0


class Fake:
    """One open resource. Pools may hang attributes on it, as psycopg_pool and kombu do."""

    pgconn = _Idle()

    def close(self) -> None:
        """There is nothing to close."""

    def rollback(self) -> None:
        """Nothing was begun."""


class AsyncFake:
    """The same for asyncio."""

    pgconn = _Idle()

    async def close(self) -> None:
        """There is nothing to close."""


class Factory:
    """Opens resources in ``seconds`` each. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.opened = 0
        """How many were opened, those included that are being opened now."""
        self._lock = threading.Lock()

    def open(self, *_: Any, **__: Any) -> Fake:
        """Blocks the thread that calls."""
        self._count()
        time.sleep(self._seconds)
        return Fake()

    async def open_async(self, *_: Any, **__: Any) -> AsyncFake:
        """Blocks nobody."""
        self._count()
        await asyncio.sleep(self._seconds)
        return AsyncFake()

    def _count(self) -> None:
        with self._lock:
            self.opened += 1
