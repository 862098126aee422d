"""psycopg 3, awaited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from rmqpool.outbox.drivers.protocol import AsyncDriver, named
from rmqpool.outbox.drivers.psycopg3 import check_status, explained
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

__all__ = ["driver"]


class _Driver:
    style: Final[Style] = "pyformat"

    async def check_transaction(self, connection: psycopg.AsyncConnection[Any]) -> None:
        check_status(connection)

    async def execute(
        self, connection: psycopg.AsyncConnection[Any], sql: str, parameters: Sequence[Any], tables: Tables
    ) -> None:
        with explained(connection, tables):
            async with psycopg.AsyncCursor(connection) as cursor:
                await cursor.execute(sql.encode(), named(parameters))

    async def fetch(
        self, connection: psycopg.AsyncConnection[Any], sql: str, parameters: Sequence[Any], tables: Tables
    ) -> Any:
        with explained(connection, tables):
            async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
                row = await (await cursor.execute(sql.encode(), named(parameters))).fetchone()
        return None if row is None else row[0]


driver: AsyncDriver = _Driver()
