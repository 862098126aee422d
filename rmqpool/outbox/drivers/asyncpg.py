"""asyncpg, its connections and those that its pool gives out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from rmqpool.outbox.drivers.protocol import FAILED, AsyncDriver, aborted, autocommit, explain
from rmqpool.outbox.statements import Style

__all__ = ["driver"]

_WHAT = "the asyncpg connection"


class _Driver:
    style: Final[Style] = "dollar"

    async def check_transaction(self, connection: Any) -> None:
        if not connection.is_closed() and not connection.is_in_transaction():
            raise autocommit(_WHAT, "Put both into: async with connection.transaction()")

    async def execute(self, connection: Any, sql: str, parameters: Sequence[Any]) -> None:
        try:
            await connection.execute(sql, *parameters)
        except asyncpg.PostgresError as error:
            if error.sqlstate == FAILED:  # asyncpg does not tell a failed transaction from a good one
                raise aborted(_WHAT) from error
            explained = explain(error, error.sqlstate)
            if explained is None:
                raise
            raise explained from error


driver: AsyncDriver = _Driver()
