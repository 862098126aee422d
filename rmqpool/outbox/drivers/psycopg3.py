"""psycopg 3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from rmqpool.outbox.drivers.protocol import SyncDriver, aborted, autocommit, explain, named, role_of
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

__all__ = ["check_status", "driver", "explained"]

_WHAT = "the psycopg connection"


class _Driver:
    style: Final[Style] = "pyformat"

    def check_transaction(self, connection: psycopg.Connection[Any]) -> None:
        check_status(connection)

    def execute(self, connection: psycopg.Connection[Any], sql: str, parameters: Sequence[Any], tables: Tables) -> None:
        with explained(connection, tables), psycopg.Cursor(connection) as cursor:
            cursor.execute(sql.encode(), named(parameters))

    def fetch(self, connection: psycopg.Connection[Any], sql: str, parameters: Sequence[Any], tables: Tables) -> Any:
        with explained(connection, tables), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            row = cursor.execute(sql.encode(), named(parameters)).fetchone()
        return None if row is None else row[0]


@contextlib.contextmanager
def explained(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], tables: Tables) -> Iterator[None]:
    """Raises what the server's refusal of a statement means, in the place of psycopg's error."""
    try:
        yield
    except psycopg.Error as error:
        refusal = explain(error, error.sqlstate, tables, role_of(connection))
        if refusal is None:
            raise
        raise refusal from error


def check_status(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise NotInTransactionError for a connection on which nothing can be part of a transaction."""
    status = connection.info.transaction_status
    if connection.autocommit and status is TransactionStatus.IDLE:
        raise autocommit(_WHAT)
    if status is TransactionStatus.INERROR:
        raise aborted(_WHAT)


driver: SyncDriver = _Driver()
