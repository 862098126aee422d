"""psycopg 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg2
from psycopg2 import extensions

from rmqpool.errors import UnsupportedConnectionError
from rmqpool.outbox.drivers.protocol import SyncDriver, aborted, autocommit, explain, is_failed, named
from rmqpool.outbox.statements import Style

__all__ = ["driver"]

_WHAT = "the psycopg 2 connection"


class _Driver:
    style: Final[Style] = "pyformat"

    def check_transaction(self, connection: Any) -> None:
        if connection.async_:
            raise UnsupportedConnectionError(
                "a psycopg 2 connection made with async_=1 has no transactions: make one without it"
            )
        if connection.closed:
            return  # the library says so itself
        if connection.autocommit and _is_idle(connection):
            # `with connection:` begins a transaction in autocommit too, but only with the first statement.
            _run(connection, "SELECT 1", None)
            if _is_idle(connection):
                raise autocommit(_WHAT)
        if is_failed(connection):
            raise aborted(_WHAT)

    def execute(self, connection: Any, sql: str, parameters: Sequence[Any]) -> None:
        try:
            _run(connection, sql, named(parameters))
        except psycopg2.Error as error:
            explained = explain(error, error.pgcode)
            if explained is None:
                raise
            raise explained from error


def _is_idle(connection: Any) -> bool:
    return bool(connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE)


def _run(connection: Any, sql: str, parameters: dict[str, Any] | None) -> None:
    with connection.cursor(cursor_factory=extensions.cursor) as cursor:  # not the application's, which may do more
        cursor.execute(sql, parameters)


driver: SyncDriver = _Driver()
