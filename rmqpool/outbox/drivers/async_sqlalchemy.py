"""SQLAlchemy 2, awaited: AsyncConnection, AsyncSession and async_scoped_session, on psycopg or asyncpg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session

from rmqpool.outbox.drivers.protocol import AsyncDriver
from rmqpool.outbox.drivers.sqlalchemy import driver as blocking
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

__all__ = ["driver"]

_AnyOfThem = AsyncConnection | AsyncSession | async_scoped_session[Any]


class _Driver:
    """What the blocking driver does, in SQLAlchemy's own bridge from one to the other."""

    style: Final[Style] = "colon"

    async def check_transaction(self, connection: _AnyOfThem) -> None:
        def check(inner: Connection | Session) -> None:
            blocking.check_transaction(inner)

        await _bridge(connection).run_sync(check)

    async def execute(self, connection: _AnyOfThem, sql: str, parameters: Sequence[Any], tables: Tables) -> None:
        def execute(inner: Connection | Session) -> None:
            blocking.execute(inner, sql, parameters, tables)

        await _bridge(connection).run_sync(execute)

    async def fetch(self, connection: _AnyOfThem, sql: str, parameters: Sequence[Any], tables: Tables) -> Any:
        def fetch(inner: Connection | Session) -> Any:
            return blocking.fetch(inner, sql, parameters, tables)

        return await _bridge(connection).run_sync(fetch)


def _bridge(connection: _AnyOfThem) -> AsyncConnection | AsyncSession:
    return connection() if isinstance(connection, async_scoped_session) else connection


driver: AsyncDriver = _Driver()
