"""psycopg 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from rmqpool.outbox.drivers.protocol import SyncDriver, aborted, autocommit, explain, named
from rmqpool.outbox.statements import Style

__all__ = ["check_status", "driver"]

_WHAT = "the psycopg connection"


class _Driver:
    style: Final[Style] = "pyformat"

    def check_transaction(self, connection: psycopg.Connection[Any]) -> None:
        check_status(connection)

    def execute(self, connection: psycopg.Connection[Any], sql: str, parameters: Sequence[Any]) -> None:
        try:
            with psycopg.Cursor(connection) as cursor:
                cursor.execute(sql.encode(), named(parameters))
        except psycopg.Error as error:
            explained = explain(error, error.sqlstate)
            if explained is None:
                raise
            raise explained from error


def check_status(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise NotInTransactionError for a connection on which nothing can be part of a transaction."""
    status = connection.info.transaction_status
    if connection.autocommit and status is TransactionStatus.IDLE:
        raise autocommit(_WHAT)
    if status is TransactionStatus.INERROR:
        raise aborted(_WHAT)


driver: SyncDriver = _Driver()
