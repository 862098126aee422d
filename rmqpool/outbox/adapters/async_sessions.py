"""As sessions.py, awaited: one read-only transaction, on whatever the caller has."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import psycopg
from psycopg.rows import tuple_row

from rmqpool.outbox.adapters import async_lender_of, is_async_pool
from rmqpool.outbox.adapters.async_transactions import AsyncBorrowedTransaction
from rmqpool.outbox.adapters.failures import as_psycopg
from rmqpool.outbox.asking import Ask
from rmqpool.outbox.async_pool import AsyncOutboxPool
from rmqpool.outbox.conninfo import read_conninfo
from rmqpool.outbox.inspection_connection import connect_async, explanation
from rmqpool.outbox.migrations import applied_versions_of, check_versions, version_not_readable
from rmqpool.outbox.refusals import INSUFFICIENT_PRIVILEGE
from rmqpool.outbox.rights import missing_grants_of
from rmqpool.outbox.tables import Tables
from rmqpool.secret import Secret

__all__ = ["AwaitedSession", "awaited_session", "check_async_source"]


class AwaitedSession:
    """A transaction that is open: with pools behind one address, all of a look is one server's answer."""

    def __init__(self, ask: Ask, tables: Tables) -> None:
        self._ask, self._tables = ask, tables

    @contextlib.asynccontextmanager
    async def transaction(self, timeout: float) -> AsyncIterator[Ask]:
        await self._ask("SELECT set_config('statement_timeout', %s, true)", f"{max(1, round(timeout * 1000))}ms")
        yield self._ask

    async def check_version(self) -> None:
        try:
            applied = await applied_versions_of(self._ask, self._tables)
        except Exception as error:
            known = as_psycopg(error)
            if known is None or known.sqlstate != INSUFFICIENT_PRIVILEGE:
                raise
            raise version_not_readable(known, self._tables, None) from error
        check_versions(set(applied), self._tables)


@contextlib.asynccontextmanager
async def awaited_session(
    source: object, tables: Tables, *, timeout: float, name: str = "rmqpool outbox"
) -> AsyncIterator[AwaitedSession]:
    """As :func:`rmqpool.outbox.adapters.sessions.session`. What the library raises becomes an error of ours."""
    try:
        async with _transaction(source, timeout, name) as ask:
            await ask("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY")
            await ask("SET LOCAL lock_timeout = '10s'")
            yield AwaitedSession(ask, tables)
    except Exception as error:
        known = as_psycopg(error)
        if known is None:
            raise
        lacking: list[str] = []
        if known.sqlstate == INSUFFICIENT_PRIVILEGE:
            with contextlib.suppress(Exception):  # for a better word only
                async with _transaction(source, timeout, name) as ask:
                    lacking = await missing_grants_of(ask, tables, "operate")
        raise explanation(known, tables, lacking) from error


@contextlib.asynccontextmanager
async def _transaction(source: object, timeout: float, name: str) -> AsyncIterator[Ask]:
    if isinstance(source, psycopg.AsyncConnection):
        async with source.transaction():
            yield _asking(source)
    elif isinstance(source, str | Secret):
        connection = await connect_async(source, name=name)
        try:
            async with connection.transaction():
                yield _asking(connection)
        finally:
            await connection.close()
    else:
        pool = source if isinstance(source, AsyncOutboxPool) else AsyncOutboxPool.of(cast("Any", source))
        async with pool.transaction(timeout) as transaction:
            if isinstance(transaction, AsyncBorrowedTransaction):
                yield _asking_through(transaction)
            else:
                yield _asking(transaction.connection)


def _asking(connection: psycopg.AsyncConnection[Any]) -> Ask:
    async def ask(sql: str, /, *parameters: Any) -> list[tuple[Any, ...]]:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql.encode(), parameters)
            return await cursor.fetchall() if cursor.description else []

    return ask


def _asking_through(transaction: AsyncBorrowedTransaction) -> Ask:
    async def ask(sql: str, /, *parameters: Any) -> list[tuple[Any, ...]]:
        return await transaction.rows(sql, list(parameters))

    return ask


def check_async_source(source: object, place: str, whose: str) -> None:
    """As :func:`rmqpool.outbox.adapters.sessions.check_source`, for who awaits."""
    if isinstance(source, str | Secret):
        read_conninfo(source, whose)
    elif not isinstance(source, psycopg.AsyncConnection | AsyncOutboxPool) and not is_async_pool(source):
        async_lender_of(source, place)
