"""A connection for looking at an outbox and repairing it: bounded waits, and errors that never repeat a password."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from rmqpool.errors import (
    ConnectionFailedError,
    ConnectionLostError,
    OutboxError,
    OutboxSchemaError,
)
from rmqpool.outbox.connect_failures import stage_of
from rmqpool.outbox.conninfo import CONNECTION_OPTIONS, masked, read_conninfo
from rmqpool.outbox.refusals import INSUFFICIENT_PRIVILEGE, command, grant_advice, schema_reason
from rmqpool.outbox.rights import missing_grants
from rmqpool.outbox.tables import Tables
from rmqpool.secret import Secret

__all__ = ["connect", "connect_async", "explained", "explanation", "names_of", "password_of", "rows_of", "transaction"]

# postgresql.org/docs/current/errcodes-appendix.html
_REASONS = {
    "25006": "the server is read-only: a standby, or default_transaction_read_only; use the primary",
    "55P03": "somebody else held a lock for too long; {doctor} names old transactions. Then try again",
    "57014": "the statement took too long and was given up",
    "40P01": "it met another transaction in a deadlock; try again",
}
_CHECK = {
    "tcp": "check its URL and that it runs",
    "password": "check the URL's user and password, and the server's pg_hba.conf",
    "database": "check the name of the database in the URL",
    "rights": "grant the role CONNECT on the database",
}
_LOST = ("08", "57P")  # connection exceptions, and a server that is told to stop


def connect(database: str | Secret, *, name: str = "rmqpool outbox") -> psycopg.Connection[Any]:
    """A connection in autocommit. ``database`` is a URL or libpq's key=value pairs; ``name`` its application_name.

    Raises ConfigurationError for a text that cannot be read, ConnectionFailedError if there is no connection.
    """
    given = read_conninfo(database)
    try:
        return psycopg.Connection.connect(**_options(given, name))
    except psycopg.Error as error:
        failed = _failed(error, given)
    raise failed


async def connect_async(database: str | Secret, *, name: str = "rmqpool outbox") -> psycopg.AsyncConnection[Any]:
    """As :func:`connect`, awaited."""
    given = read_conninfo(database)
    try:
        return await psycopg.AsyncConnection.connect(**_options(given, name))
    except psycopg.Error as error:
        failed = _failed(error, given)
    raise failed


def _options(given: dict[str, Any], name: str) -> dict[str, Any]:
    # No prepared statements: PgBouncer before 1.21 knows none in transaction mode.
    own = {"prepare_threshold": None, "autocommit": True}
    return {**CONNECTION_OPTIONS, "application_name": name, **given, **own}


def _failed(error: psycopg.Error, given: dict[str, Any]) -> ConnectionFailedError:
    told = masked(str(error).strip(), given)
    stage = stage_of(told)
    host, port = str(given.get("host") or ""), str(given.get("port") or "")
    return ConnectionFailedError(
        f"no connection to Postgres, {_CHECK[stage]}: {told}",
        host=host,
        port=int(port) if port.isdigit() else 0,
        stage=stage,
    )


def password_of(database: str) -> str:
    """The password in a URL or key=value pairs, for who masks it; empty if there is none. Raises ConfigurationError."""
    return str(read_conninfo(database).get("password") or "")


@contextlib.contextmanager
def explained(connection: psycopg.Connection[Any], tables: Tables) -> Iterator[None]:
    """Turns what Postgres refuses into errors of ours: OutboxSchemaError, ConnectionLostError or OutboxError.

    ``connection`` is one of :func:`connect`, in no transaction when the block has ended: it is asked which rights its role
    lacks.
    """
    try:
        yield
    except psycopg.Error as error:
        lacking: list[str] = []
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            with contextlib.suppress(psycopg.Error):  # for a better word only
                lacking = missing_grants(connection, tables, "operate")
        raise explanation(error, tables, lacking) from error


def explanation(error: psycopg.Error, tables: Tables, lacking: list[str]) -> OutboxError | ConnectionLostError:
    """What Postgres' refusal means; ``lacking`` are the grants that its role lacks."""
    state = error.sqlstate or ""
    # The first line only: the details of a violated constraint would show the row.
    said = f"(Postgres said: {error.diag.message_primary or str(error).strip() or type(error).__name__})"
    reason = schema_reason(state, tables, "operate")
    if state == INSUFFICIENT_PRIVILEGE:
        advice = grant_advice(lacking) if lacking else "use the role that owns the tables"
        reason = f"its role may not do that; {advice}"
    if reason is not None:
        return OutboxSchemaError(f"the outbox cannot be used: {reason} {said}")
    if state.startswith(_LOST) or (not state and isinstance(error, psycopg.OperationalError)):
        return ConnectionLostError(f"the connection to Postgres was lost; try again {said}")
    why = _REASONS.get(state, "it failed").format(doctor=command(tables, "doctor"))
    return OutboxError(f"nothing was changed by the last step: {why} {said}")


@contextlib.contextmanager
def transaction(
    connection: psycopg.Connection[Any], tables: Tables, *, timeout: float, read_only: bool = False
) -> Iterator[psycopg.Cursor[Any]]:
    """One transaction. ``timeout`` bounds each statement, in seconds; locks are waited for 10 seconds at most."""
    with explained(connection, tables), connection.transaction(), connection.cursor() as cursor:
        access = b", READ ONLY" if read_only else b""
        cursor.execute(b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED" + access)
        cursor.execute(f"SET LOCAL statement_timeout = '{max(1, round(timeout * 1000))}ms'".encode())
        cursor.execute(b"SET LOCAL lock_timeout = '10s'")
        yield cursor


def names_of(tables: Tables) -> dict[str, str]:
    """The tables by their short names, escaped for a statement with ``%s``."""
    names = ("outbox", "held", "stalled", "dead", "scheduled", "inbox")
    return {name: getattr(tables, name).replace("%", "%%") for name in names}


def rows_of(cursor: psycopg.Cursor[Any], sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run one statement with ``%s`` and return its rows."""
    values: Sequence[Any] = parameters
    return cursor.execute(sql.encode(), values).fetchall()
