"""asyncpg, its connections and those that its pool gives out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import asyncpg

from rmqpool.outbox.drivers.protocol import FAILED, AsyncDriver, aborted, autocommit, explain, role_of
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

__all__ = ["driver"]

_WHAT = "the asyncpg connection"


class _Driver:
    style: Final[Style] = "dollar"

    async def check_transaction(self, connection: Any) -> None:
        if not connection.is_closed() and not connection.is_in_transaction():
            raise autocommit(_WHAT, "Put both into: async with connection.transaction()")

    async def execute(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> None:
        with _explained(connection, tables):
            await connection.execute(sql, *parameters)

    async def fetch(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> Any:
        with _explained(connection, tables):
            return await connection.fetchval(sql, *parameters)


@contextlib.contextmanager
def _explained(connection: Any, tables: Tables) -> Iterator[None]:
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate == FAILED:  # asyncpg does not tell a failed transaction from a good one
            raise aborted(_WHAT) from error
        refusal = explain(error, error.sqlstate, tables, role_of(connection))
        if refusal is None:
            raise
        raise refusal from error


driver: AsyncDriver = _Driver()
