"""asyncpg's Pool."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from rmqpool.errors import ConfigurationError, ConnectionFailedError, PoolClosedError, PoolTimeoutError
from rmqpool.outbox.adapters.placeholders import numbered
from rmqpool.outbox.adapters.port import AsyncBorrowed, AsyncLender
from rmqpool.outbox.adapters.waiting import taken_by_async
from rmqpool.outbox.connect_failures import stage_of
from rmqpool.outbox.pool_parts import commit_is_impossible

__all__ = ["asked_status", "lender"]

_INTRANS, _INERROR, _RELEASE = 2, 3, 5.0  # PQTRANS_; seconds that asyncpg has to reset a connection


class _Borrowed:
    def __init__(self, pool: Any, connection: Any) -> None:
        self._pool = pool
        self.native = connection
        self._transaction: Any = None
        self._is_back = False

    async def begin(self) -> None:
        self._transaction = self.native.transaction()
        await self._transaction.start()

    async def commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        await transaction.commit()

    async def rollback(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None and not self.native.is_closed():
            await transaction.rollback()

    async def execute(self, sql: str, parameters: Any = None) -> Any:
        if isinstance(parameters, Mapping):
            raise ConfigurationError("asyncpg has numbered placeholders ($1, $2): give the parameters as a list")
        return await self.native.fetch(sql, *(parameters or ()))

    async def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.native.fetch(numbered(sql), *parameters)]

    @property
    def is_lost(self) -> bool:
        return bool(self.native.is_closed())

    @property
    def is_idle(self) -> bool:
        return not self.native.is_closed() and not self.native.is_in_transaction()

    async def status(self) -> int:
        return await asked_status(self.native)

    async def give_back(self) -> None:
        if not self._is_back:
            self._is_back = True
            await self._pool.release(self.native, timeout=_RELEASE)

    async def discard(self) -> None:
        if not self._is_back:
            self.native.terminate()
            with contextlib.suppress(asyncpg.InterfaceError, OSError):
                await self.give_back()


async def asked_status(connection: Any) -> int:
    """libpq's number. asyncpg does not tell a failed transaction from a good one, and its COMMIT raises nothing."""
    try:
        await connection.execute("SELECT 1")
    except asyncpg.InFailedSQLTransactionError:
        return _INERROR
    except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError):
        commit_is_impossible(True, _INTRANS)
    return _INTRANS


class _Lender:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @property
    def what(self) -> str:
        return "the asyncpg Pool"

    async def take(self, deadline: float) -> AsyncBorrowed:
        began = time.monotonic()
        try:
            connection = await taken_by_async(deadline, self._acquire(), self._pool.release)
        except TimeoutError:
            raise PoolTimeoutError(
                f"{self.what} gave no connection within {time.monotonic() - began:.3g} s ({self.state()}): is the server up, "
                "are connections kept for too long, is its max_size too small?"
            ) from None
        except asyncpg.InterfaceError as error:
            raise PoolClosedError(
                f"{self.what} cannot be used: {error}; it is the application's own, which opens it"
            ) from None
        except (asyncpg.PostgresError, OSError) as error:
            told = str(error).strip() or type(error).__name__
            raise ConnectionFailedError(
                f"no connection to Postgres through {self.what}: {told}", stage=stage_of(told)
            ) from None
        return _Borrowed(self._pool, connection)

    async def _acquire(self) -> Any:
        return await self._pool.acquire()

    def state(self) -> str:
        size, largest, idle = self.sizes()
        return f"{size} of {largest} connections, {idle} idle"

    def sizes(self) -> tuple[int, int, int]:
        return self._pool.get_size(), self._pool.get_max_size(), self._pool.get_idle_size()


def lender(pool: Any) -> AsyncLender:
    """Of this pool."""
    return _Lender(pool)
