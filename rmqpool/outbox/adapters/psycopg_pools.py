"""psycopg_pool.ConnectionPool and NullConnectionPool."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg.rows import tuple_row

from rmqpool.errors import PoolClosedError, PoolTimeoutError, TooManyWaitingError
from rmqpool.outbox.adapters.port import Borrowed, Lender
from rmqpool.outbox.pool_alive import is_lost

__all__ = ["lender", "refused", "state_of"]


class _Borrowed:
    def __init__(self, pool: psycopg_pool.ConnectionPool[Any], raw: psycopg.Connection[Any]) -> None:
        self._pool = pool
        self.raw = self.native = raw
        self._is_back = False

    def begin(self) -> None:
        """psycopg begins with the first statement."""

    def commit(self) -> None:
        self.raw.commit()

    def rollback(self) -> None:
        self.raw.rollback()

    def execute(self, sql: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        return self.raw.execute(sql.encode(), parameters)

    def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with psycopg.Cursor(self.raw, row_factory=tuple_row) as cursor:
            cursor.execute(sql.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def give_back(self) -> None:
        if not self._is_back:
            self._is_back = True
            self._pool.putconn(self.raw)

    def discard(self) -> None:
        if not self._is_back:
            with contextlib.suppress(psycopg.Error):
                self.raw.close()
            self.give_back()


class _Lender:
    driver: Final = "psycopg"

    def __init__(self, pool: psycopg_pool.ConnectionPool[Any]) -> None:
        self._pool = pool
        self._forked = False

    @property
    def what(self) -> str:
        return f"the psycopg_pool {self._pool.name!r}"

    @property
    def largest(self) -> int | None:
        return self._pool.max_size or None

    def take(self, deadline: float, *, own: bool = False) -> Borrowed:
        began = time.monotonic()
        if self._forked:
            raise PoolClosedError(f"{self.what} is of the process that forked this one: make one in each process")
        while True:
            try:
                raw = self._pool.getconn(max(0.0, deadline - time.monotonic()))
            except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, psycopg_pool.PoolClosed) as error:
                raise refused(error, self.what, self.state(), time.monotonic() - began) from None
            borrowed = _Borrowed(self._pool, raw)
            if not is_lost(raw):
                return borrowed
            borrowed.discard()

    def state(self) -> str:
        return state_of(self._pool)

    def sizes(self) -> tuple[int, int, int]:
        figures = self._pool.get_stats()
        return figures["pool_size"], figures["pool_max"], figures["pool_available"]

    def forget(self) -> None:
        self._forked = True
        _OF_PARENTS.append(self._pool)


def state_of(pool: psycopg_pool.ConnectionPool[Any] | psycopg_pool.AsyncConnectionPool[Any]) -> str:
    """Its sizes."""
    figures = pool.get_stats()
    return (
        f"{figures['pool_size']} of {figures['pool_max']} connections, {figures['pool_available']} idle, "
        f"{figures.get('requests_waiting', 0)} callers waiting"
    )


def refused(error: psycopg.Error, what: str, state: str, waited: float) -> Exception:
    """What psycopg_pool's refusal means, with the pool's state."""
    if isinstance(error, psycopg_pool.PoolTimeout):
        return PoolTimeoutError(
            f"{what} gave no connection within {waited:.3g} s ({state}): is the server up, are connections kept for too "
            "long, is its max_size too small?"
        )
    if isinstance(error, psycopg_pool.TooManyRequests):
        return TooManyWaitingError(f"as many callers as max_waiting allows wait for {what} already ({state})")
    return PoolClosedError(f"{what} is closed, or was not opened: it is the application's own, which opens it")


def lender(pool: psycopg_pool.ConnectionPool[Any]) -> Lender:
    """Of this pool."""
    return _Lender(pool)


_OF_PARENTS: list[object] = []  # never collected: their threads are not here
