"""What the pools hold: connections that know since when they idle; and psycopg's pools, which try again soon enough."""

from __future__ import annotations

import time
from typing import Any, Final, Self

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from rmqpool.outbox.conninfo import CONNECTION_OPTIONS, masked, read_conninfo
from rmqpool.secret import Secret

__all__ = ["AsyncPooledConnection", "Database", "PooledConnection", "new_async_pool", "new_pool"]

# Seconds between attempts to connect. psycopg_pool doubles its pauses, up to minutes, and whoever waits for a connection
# waits for the next attempt.
_LONGEST_PAUSE: Final = 2.0
_NEVER: Final = 1e9  # seconds: it does not give up; once it has, it tries again only when the next caller comes


class Database:
    """Where to connect to, and what the last attempt said. Shows no password. Raises ConfigurationError."""

    def __init__(self, url: str | Secret, name: str) -> None:
        given = read_conninfo(url)
        self._url = url if isinstance(url, Secret) else Secret(url)
        self._name = name
        self.place = f"{given.get('host') or 'this machine'}:{given.get('port') or 5432}/{given.get('dbname') or ''}"
        self.last_error: str | None = None

    def options(self) -> dict[str, Any]:
        """psycopg's arguments, with the password."""
        return {**CONNECTION_OPTIONS, "application_name": self._name, **read_conninfo(self._url)}

    def connected(self) -> None:
        """The last attempt succeeded."""
        self.last_error = None

    def failed(self, error: BaseException) -> None:
        """The last attempt failed."""
        words = " ".join(str(error).split()) or type(error).__name__
        self.last_error = masked(words, read_conninfo(self._url))

    def __repr__(self) -> str:
        return f"<Database {self.place}>"


class PooledConnection(psycopg.Connection[TupleRow]):
    """A connection of a pool of ours."""

    idle_since: float  # monotonic

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Connect to the ``database`` among the options, which remembers why that failed."""
        database: Database = options.pop("database")
        try:
            connection = super().connect(conninfo, **{**database.options(), **options})
        except psycopg.Error as error:
            database.failed(error)
            raise
        database.connected()
        connection.idle_since = time.monotonic()
        return connection


class AsyncPooledConnection(psycopg.AsyncConnection[TupleRow]):
    """As :class:`PooledConnection`, awaited."""

    idle_since: float

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """As :meth:`PooledConnection.connect`."""
        database: Database = options.pop("database")
        try:
            connection = await super().connect(conninfo, **{**database.options(), **options})
        except psycopg.Error as error:
            database.failed(error)
            raise
        database.connected()
        connection.idle_since = time.monotonic()
        return connection


class _Pool(ConnectionPool[PooledConnection]):
    def schedule_task(self, task: Any, delay: float) -> None:
        super().schedule_task(task, _pause(task, delay))


class _AsyncPool(AsyncConnectionPool[AsyncPooledConnection]):
    async def schedule_task(self, task: Any, delay: float) -> None:
        await super().schedule_task(task, _pause(task, delay))


def new_pool(database: Database, *, pgbouncer: bool, **sizes: Any) -> ConnectionPool[PooledConnection]:
    """A pool that is not open yet; ``sizes`` are psycopg_pool's arguments."""
    options = _options(database, pgbouncer)
    return _Pool(connection_class=PooledConnection, kwargs=options, reconnect_timeout=_NEVER, open=False, **sizes)


def new_async_pool(database: Database, *, pgbouncer: bool, **sizes: Any) -> AsyncConnectionPool[AsyncPooledConnection]:
    """As :func:`new_pool`, awaited."""
    options = _options(database, pgbouncer)
    return _AsyncPool(
        connection_class=AsyncPooledConnection, kwargs=options, reconnect_timeout=_NEVER, open=False, **sizes
    )


def _options(database: Database, pgbouncer: bool) -> dict[str, Any]:
    # In transaction mode the next statement may meet another server: it knows no statement of ours.
    return {"database": database, **({"prepare_threshold": None} if pgbouncer else {})}


def _pause(task: object, delay: float) -> float:
    return min(delay, _LONGEST_PAUSE) if type(task).__name__ == "AddConnection" else delay
