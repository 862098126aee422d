"""SQLAlchemy's AsyncEngine, on psycopg or asyncpg."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from rmqpool.errors import ConfigurationError
from rmqpool.outbox.adapters.engine import connect_failed, described, largest_of, not_in_time, sizes_of, state_of
from rmqpool.outbox.adapters.liveness import is_dead, is_idle
from rmqpool.outbox.adapters.placeholders import numbered
from rmqpool.outbox.adapters.port import AsyncBorrowed, AsyncLender
from rmqpool.outbox.adapters.waiting import taken_by_async

__all__ = ["lender"]

_DRIVERS = ("psycopg", "psycopg_async", "asyncpg")


class _Borrowed:
    def __init__(self, connection: AsyncConnection, raw: Any) -> None:
        self.native = connection
        self._raw = raw
        self._is_asyncpg = not isinstance(raw, psycopg.AsyncConnection)
        self._is_back = False

    async def begin(self) -> None:
        proxied = self.native.sync_connection
        assert proxied is not None
        if getattr(proxied.connection.dbapi_connection, "autocommit", False):
            # SQLAlchemy puts it back when the connection goes back.
            await self.native.execution_options(isolation_level=proxied.default_isolation_level)
        await self.native.begin()

    async def commit(self) -> None:
        await self.native.commit()

    async def rollback(self) -> None:
        await self.native.rollback()

    async def execute(self, sql: str, parameters: Any = None) -> Any:
        return await self.native.exec_driver_sql(sql, tuple(parameters) if isinstance(parameters, list) else parameters)

    async def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        result = await self.native.exec_driver_sql(numbered(sql) if self._is_asyncpg else sql, tuple(parameters))
        return [tuple(row) for row in result] if result.returns_rows else []

    @property
    def is_lost(self) -> bool:
        if self.native.closed or self.native.invalidated:
            return True
        return bool(self._raw.is_closed()) if self._is_asyncpg else is_dead(self._raw)

    @property
    def is_idle(self) -> bool:
        if self.native.closed or self.native.invalidated:
            return False
        return (
            not self._raw.is_closed() and not self._raw.is_in_transaction() if self._is_asyncpg else is_idle(self._raw)
        )

    async def status(self) -> int:
        if self._is_asyncpg:
            from rmqpool.outbox.adapters.asyncpg_pools import asked_status

            return await asked_status(self._raw)
        return int(self._raw.info.transaction_status)

    async def give_back(self) -> None:
        if not self._is_back:
            self._is_back = True
            await self.native.close()

    async def discard(self) -> None:
        if not self._is_back:
            with contextlib.suppress(SQLAlchemyError):
                if not self.native.invalidated and not self.native.closed:
                    await self.native.invalidate()
            await self.give_back()


class _Lender:
    def __init__(self, engine: AsyncEngine) -> None:
        dialect = engine.dialect
        if dialect.name != "postgresql" or dialect.driver not in _DRIVERS:
            raise ConfigurationError(
                f"the SQLAlchemy AsyncEngine is one to {dialect.name} with {dialect.driver}; the outbox lives in Postgres, "
                "and takes engines of postgresql+psycopg:// and postgresql+asyncpg://"
            )
        self._engine = engine

    @property
    def what(self) -> str:
        return described(self._engine.sync_engine)

    async def take(self, deadline: float) -> AsyncBorrowed:
        began = time.monotonic()
        while True:
            try:
                borrowed = await taken_by_async(deadline, self._connected(), _Borrowed.give_back)
            except (TimeoutError, PoolTimeout):
                raise not_in_time(self.what, self.state(), time.monotonic() - began) from None
            except DBAPIError as error:
                raise connect_failed(error, self._engine.sync_engine) from None
            except OSError as error:  # asyncpg's own
                raise connect_failed(DBAPIError("connect", None, error), self._engine.sync_engine) from None
            if not borrowed.is_lost:
                return borrowed
            await asyncio.shield(borrowed.discard())

    async def _connected(self) -> _Borrowed:
        connection = self._engine.connect()
        await connection.start()
        try:
            return _Borrowed(connection, (await connection.get_raw_connection()).driver_connection)
        except BaseException:
            await asyncio.shield(connection.close())
            raise

    def state(self) -> str:
        return state_of(self._engine.pool)

    def sizes(self) -> tuple[int, int, int]:
        pool = self._engine.pool
        return sizes_of(pool, largest_of(pool))


def lender(engine: AsyncEngine) -> AsyncLender:
    """Of this engine. Raises ConfigurationError for another database, or another driver."""
    return _Lender(engine)
