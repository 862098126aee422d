"""psycopg 3, awaited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from rmqpool.outbox.drivers.protocol import AsyncDriver, explain, named
from rmqpool.outbox.drivers.psycopg3 import check_status
from rmqpool.outbox.statements import Style

__all__ = ["driver"]


class _Driver:
    style: Final[Style] = "pyformat"

    async def check_transaction(self, connection: psycopg.AsyncConnection[Any]) -> None:
        check_status(connection)

    async def execute(self, connection: psycopg.AsyncConnection[Any], sql: str, parameters: Sequence[Any]) -> None:
        try:
            async with psycopg.AsyncCursor(connection) as cursor:
                await cursor.execute(sql.encode(), named(parameters))
        except psycopg.Error as error:
            explained = explain(error, error.sqlstate)
            if explained is None:
                raise
            raise explained from error


driver: AsyncDriver = _Driver()
