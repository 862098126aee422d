"""Django: ``django.db.connection`` and ``connections["alias"]``, on psycopg or psycopg 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import Error

from rmqpool.errors import UnsupportedConnectionError
from rmqpool.outbox.drivers.protocol import SyncDriver, aborted, autocommit, explain, is_failed, named
from rmqpool.outbox.statements import Style

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

    def execute(self, connection: Any, sql: str, parameters: Sequence[Any]) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, named(parameters))
        except Error as error:
            refusal = error.__cause__ or error
            sqlstate = getattr(refusal, "sqlstate", None) or getattr(refusal, "pgcode", None)
            explained = explain(refusal, sqlstate)
            if explained is None:
                raise
            raise explained from error


driver: SyncDriver = _Driver()
