"""SQLAlchemy 2: Connection, Session and scoped_session, on psycopg, psycopg 2 or (in run_sync) asyncpg.

A Session that flushes by itself is flushed first, as before a query: what the message is about has then taken its locks,
so that messages of one key get their order where their rows do. In ``no_autoflush`` pending objects stay pending.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, CursorResult, TextClause, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.orm import Session, scoped_session

from rmqpool.errors import NotInTransactionError, OutboxError, UnsupportedConnectionError
from rmqpool.outbox.drivers.protocol import (
    FAILED,
    SyncDriver,
    aborted,
    autocommit,
    explain,
    is_failed,
    named,
    role_of,
)
from rmqpool.outbox.statements import Style
from rmqpool.outbox.tables import Tables

__all__ = ["check_connection", "check_session", "driver", "explained", "statement"]

_CONNECTION = "the SQLAlchemy connection"
_SESSION = "the SQLAlchemy session"
_WAY_OUT = 'Take a connection or session whose isolation_level is not "AUTOCOMMIT"'


class _Driver:
    style: Final[Style] = "colon"

    def check_transaction(self, connection: Connection | Session | scoped_session[Any]) -> None:
        if isinstance(connection, Connection):
            check_connection(connection, _CONNECTION)
        else:
            check_session(_session(connection))

    def execute(
        self,
        connection: Connection | Session | scoped_session[Any],
        sql: str,
        parameters: Sequence[Any],
        tables: Tables,
    ) -> None:
        _run(connection, sql, parameters, tables).close()

    def fetch(
        self,
        connection: Connection | Session | scoped_session[Any],
        sql: str,
        parameters: Sequence[Any],
        tables: Tables,
    ) -> Any:
        return _run(connection, sql, parameters, tables).scalar()


def _run(
    connection: Connection | Session | scoped_session[Any], sql: str, parameters: Sequence[Any], tables: Tables
) -> CursorResult[Any]:
    if not isinstance(connection, Connection):
        session = _session(connection)
        if session.autoflush:
            session.flush()
        connection = session.connection()
    try:
        return connection.execute(statement(sql), named(parameters))
    except DBAPIError as error:
        refusal = explained(error, tables, _role_of(connection))
        if refusal is None:
            raise
        raise refusal from error


def _role_of(connection: Connection) -> str | None:
    if connection.invalidated:
        return None
    return role_of(connection.connection.driver_connection)


@functools.lru_cache(maxsize=256)
def statement(sql: str) -> TextClause:
    """The statement, parsed once."""
    return text(sql)


def check_session(session: Session) -> None:
    """Raise NotInTransactionError for a session in which nothing can be part of a transaction; it begins one."""
    if not session.is_active:  # a flush failed
        raise aborted(_SESSION)
    check_connection(session.connection(), _SESSION)


def check_connection(connection: Connection, what: str) -> None:
    """As :func:`check_session`. Raises UnsupportedConnectionError for another database than Postgres."""
    if connection.dialect.name != "postgresql":
        raise UnsupportedConnectionError(
            f"{what} is one to {connection.dialect.name}: the outbox lives in Postgres, in the transaction of the caller"
        )
    try:
        pooled = connection.connection
    except PendingRollbackError as error:
        raise aborted(what) from error
    # The dialects give all their connections this attribute; isolation levels of an engine or an option end up there.
    if getattr(pooled.dbapi_connection, "autocommit", False):
        raise autocommit(what, _WAY_OUT)
    if is_failed(pooled.driver_connection):
        raise aborted(what)


def explained(error: DBAPIError, tables: Tables, role: str | None) -> OutboxError | None:
    """What the server's refusal means, without SQLAlchemy's copy of the parameters; None for the application's own."""
    refusal = error.orig
    sqlstate = getattr(refusal, "sqlstate", None) or getattr(refusal, "pgcode", None)
    if sqlstate == FAILED:  # asyncpg does not tell beforehand
        failed: NotInTransactionError = aborted(_CONNECTION)
        return failed
    return explain(refusal or error, sqlstate, tables, role)


def _session(session: Session | scoped_session[Any]) -> Session:
    return session if isinstance(session, Session) else session()


driver: SyncDriver = _Driver()
