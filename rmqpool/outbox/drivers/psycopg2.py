"""psycopg 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg2
from psycopg2 import extensions

from rmqpool.errors import UnsupportedConnectionError
from rmqpool.outbox.drivers.protocol import SyncDriver, aborted, autocommit, explain, is_failed, named, role_of
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

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

    def execute(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> None:
        with _explained(connection, tables):
            _run(connection, sql, named(parameters))

    def fetch(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> Any:
        with _explained(connection, tables):
            row = _run(connection, sql, named(parameters), fetch=True)
        return None if row is None else row[0]


@contextlib.contextmanager
def _explained(connection: Any, tables: Tables) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        refusal = explain(error, error.pgcode, tables, role_of(connection))
        if refusal is None:
            raise
        raise refusal from error


def _is_idle(connection: Any) -> bool:
    return bool(connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE)


def _run(connection: Any, sql: str, parameters: dict[str, Any] | None, *, fetch: bool = False) -> Any:
    with connection.cursor(cursor_factory=extensions.cursor) as cursor:  # not the application's, which may do more
        cursor.execute(sql, parameters)
        return cursor.fetchone() if fetch else None


driver: SyncDriver = _Driver()
