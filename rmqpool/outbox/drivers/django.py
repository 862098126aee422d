"""Django: ``django.db.connection`` and ``connections["alias"]``, on psycopg or psycopg 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.db import Error

from rmqpool.errors import UnsupportedConnectionError
from rmqpool.outbox.drivers.protocol import SyncDriver, aborted, autocommit, explain, is_failed, named, role_of
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

__all__ = ["driver"]

_WAY_OUT = "Put both into one block of: with django.db.transaction.atomic()"


class _Driver:
    style: Final[Style] = "pyformat"

    def check_transaction(self, connection: Any) -> None:
        if getattr(connection, "vendor", None) != "postgresql":  # a proxy may stand for a cache, too
            raise UnsupportedConnectionError(
                "the Django connection is none to Postgres, where the outbox lives: give it the connection of your own "
                'transaction, django.db.connection or django.db.connections["alias"]'
            )
        what = f"the Django connection {connection.alias!r}"
        if not connection.in_atomic_block and connection.get_autocommit():
            raise autocommit(what, _WAY_OUT)
        if connection.needs_rollback or is_failed(connection.connection):
            raise aborted(what)

    def execute(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> None:
        with _explained(connection, tables), connection.cursor() as cursor:
            cursor.execute(sql, named(parameters))

    def fetch(self, connection: Any, sql: str, parameters: Sequence[Any], tables: Tables) -> Any:
        with _explained(connection, tables), connection.cursor() as cursor:
            cursor.execute(sql, named(parameters))
            row = cursor.fetchone()
        return None if row is None else row[0]


@contextlib.contextmanager
def _explained(connection: Any, tables: Tables) -> Iterator[None]:
    try:
        yield
    except Error as error:
        raw = error.__cause__ or error
        sqlstate = getattr(raw, "sqlstate", None) or getattr(raw, "pgcode", None)
        refusal = explain(raw, sqlstate, tables, role_of(connection.connection))
        if refusal is None:
            raise
        raise refusal from error


driver: SyncDriver = _Driver()
