"""A relay's connection to Postgres: TCP that notices a dead peer, no secrets in errors, and an end from any thread."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg

from rmqpool.errors import ConnectionFailedError
from rmqpool.outbox.adapters.long_loan import LongLender, LongLoan
from rmqpool.outbox.conninfo import CONNECTION_OPTIONS, masked, read_conninfo
from rmqpool.outbox.tables import quote_literal

__all__ = ["RelayConnection"]

_CONNECT_TIMEOUT: Final = 5  # seconds: others wait for the lanes
_RESET_TIMEOUT: Final = 2.0  # seconds to put a borrowed connection back to what it was


class RelayConnection:
    """Statements on one connection. Owned by one thread; :meth:`abort` may be called from any.

    ``database`` is a URL, or lends connections of the application's pool: those go back as they were.
    ``settings`` are sent with the connection's first packet. PgBouncer takes none, and may give each transaction another
    server: with ``each_time`` they are set for each statement alone, in a transaction around it (with autocommit only).
    ``client_side`` binds parameters in the client: the simple protocol leaves no portal, and so no snapshot, behind.
    """

    def __init__(
        self,
        database: str | LongLender,
        name: str,
        *,
        autocommit: bool,
        client_side: bool = False,
        settings: Mapping[str, str] | None = None,
        each_time: bool = False,
    ) -> None:
        self._each_time = b""
        if settings and each_time:
            local = (f"SET LOCAL {setting} = {quote_literal(value)}" for setting, value in settings.items())
            self._each_time = "; ".join(local).encode()
            settings = None
        self._loan: LongLoan | None = None
        self._is_borrowed = not isinstance(database, str)
        self._lock = threading.Lock()
        self._is_mine = True  # a borrowed connection that went back is not to be cut any more
        self._was_cut = False
        if isinstance(database, str):
            self.raw = _connect(database, name, autocommit, settings)
        else:
            own = {"application_name": name, "client_encoding": "UTF8", **(settings or {})}
            self._loan = LongLoan(database, timeout=_CONNECT_TIMEOUT, autocommit=autocommit, settings=own)
            self.raw = self._loan.raw
        self.statements = 0
        self._cursor: psycopg.Cursor[Any] = psycopg.ClientCursor(self.raw) if client_side else psycopg.Cursor(self.raw)

    @property
    def pid(self) -> int:
        """The backend's process id, as pg_locks names it."""
        return self.raw.info.backend_pid

    def execute(self, sql: bytes, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> psycopg.Cursor[Any]:
        """Run one statement. Raises psycopg.Error."""
        self.statements += 1
        if parameters is None and b"%%" in sql:
            parameters = ()  # psycopg reads %% as % only where there could be a placeholder
        if not self._each_time:
            return self._cursor.execute(sql, parameters)
        self.statements += 3
        with self.raw.transaction():
            self.raw.execute(self._each_time)
            return self._cursor.execute(sql, parameters)

    def rows(self, sql: bytes, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        return self.execute(sql, parameters).fetchall()

    def peek(self, sql: bytes, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """As :meth:`rows`, in one round trip, and the open transaction keeps no lock on what was read.

        Or else DDL would wait for as long as the transaction lasts, and whoever writes would wait behind the DDL. Only
        for a client-side connection, and not for taking locks that are meant to be kept.
        """
        self.statements += 3
        cursor = self.execute(
            b"SAVEPOINT peek; " + sql + b"; ROLLBACK TO SAVEPOINT peek; RELEASE SAVEPOINT peek", parameters
        )
        cursor.nextset()
        return cursor.fetchall()

    def value(self, sql: bytes, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Any:
        """Run one statement and return the first column of its first row."""
        row = self.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def on_notify(self, handler: Callable[[psycopg.Notify], None]) -> None:
        """Call this for each notification, until :meth:`close`."""
        self.raw.add_notify_handler(handler)
        if self._loan is not None:
            self._loan.handlers.append(handler)

    def abort(self) -> None:
        """Cut the connection under a statement that does not end. From any thread."""
        with self._lock, contextlib.suppress(OSError, psycopg.Error, ValueError):  # it is closed already
            if not self._is_mine:
                return
            self._was_cut = True
            sock = socket.socket(fileno=os.dup(self.raw.fileno()))
            with sock:
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; an open transaction is rolled back by the server. A borrowed one is rolled back, and goes back."""
        if not self._is_borrowed:
            with contextlib.suppress(psycopg.Error):
                self.raw.close()
            return
        loan, self._loan = self._loan, None
        if loan is None:
            return  # it is the application's again
        cut = threading.Timer(_RESET_TIMEOUT, self.abort)
        cut.daemon = True
        cut.start()
        try:
            loan.end(self._let_go)
        finally:
            cut.cancel()

    def _let_go(self) -> bool:
        with self._lock:
            self._is_mine = False
            return not self._was_cut


def _connect(
    database: str, name: str, autocommit: bool, settings: Mapping[str, str] | None
) -> psycopg.Connection[tuple[Any, ...]]:
    given = read_conninfo(database)
    options = {**CONNECTION_OPTIONS, "connect_timeout": _CONNECT_TIMEOUT, **given, "application_name": name}
    if settings:
        sent = " ".join(f"-c {setting}={value}" for setting, value in settings.items())
        options["options"] = f"{options.get('options', '')} {sent}".strip()
    try:
        return psycopg.Connection.connect(**options, autocommit=autocommit, prepare_threshold=None)
    except psycopg.OperationalError as error:
        told = masked(str(error).strip(), given)
        raise ConnectionFailedError(f"no connection to Postgres: {told}", stage="tcp") from None
