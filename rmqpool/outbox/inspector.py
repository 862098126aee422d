"""Inspector: looks at an outbox from a read-only replica, and from the primary when that would not be the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg

from rmqpool.outbox import inspection
from rmqpool.outbox.adapters.sessions import check_source, session
from rmqpool.outbox.asking import Ask, asking, at_once
from rmqpool.outbox.inspection import COUNTED, DeadRow, StalledKey, Status
from rmqpool.outbox.inspection_connection import explained, transaction
from rmqpool.outbox.inspection_health import Health
from rmqpool.outbox.looking import Looked, Looking, ReplicaHealth
from rmqpool.outbox.migrations import check_version
from rmqpool.outbox.tables import Tables, tables_or_default

__all__ = ["Inspector", "Looked", "ReplicaHealth"]

_T = TypeVar("_T")
_Connection = psycopg.Connection[Any]


class Inspector:
    """Status, stalled keys and dead rows of an outbox, from ``replica`` while that is at most ``max_lag`` seconds behind.

    ``database`` and ``replica`` are URLs, psycopg connections in autocommit, or pools of the application's
    (psycopg_pool.ConnectionPool, a SQLAlchemy Engine, ``django.db.connections[alias]``). A replica that is away, too far
    behind (10 seconds, unless ``max_lag`` says otherwise), or none at all (a primary) is told in ``why``, and the primary is
    asked. ``timeout`` seconds bound the wait for a connection of a pool; a URL's ``connect_timeout`` is its own.

    Thread-safe, except with a psycopg connection. Raises ConfigurationError for what cannot be meant.
    """

    def __init__(
        self,
        database: object,
        *,
        replica: object = None,
        max_lag: float | None = None,
        tables: Tables | None = None,
        timeout: float = 10.0,
    ) -> None:
        check_source(database, "Inspector", "the database's")
        if replica is not None:
            check_source(replica, "Inspector(replica=…)", "the replica's")
        self._tables = tables_or_default(tables)
        self._looking = Looking(
            database, replica=replica, max_lag=max_lag, tables=self._tables, timeout=timeout, session=self._session
        )

    def status(self, *, counted: int = COUNTED) -> Looked[Status]:
        """The state of the outbox. The relays are the primary's to tell: it is asked for them in any case.

        Raises OutboxSchemaError, OutboxError, ConnectionFailedError, ConnectionLostError, PoolError.
        """
        return at_once(self._looking.status(counted))

    def stalled_keys(self, *, limit: int = 100) -> Looked[list[StalledKey]]:
        """As :func:`rmqpool.outbox.inspection.stalled_keys`. Raises as :meth:`status`."""
        return at_once(self._looking.ask(lambda ask: inspection.stalled_keys_of(ask, self._tables, limit=limit)))

    def dead_rows(self, *, limit: int = 100) -> Looked[list[DeadRow]]:
        """As :func:`rmqpool.outbox.inspection.dead_rows`. Raises as :meth:`status`."""
        return at_once(self._looking.ask(lambda ask: inspection.dead_rows_of(ask, self._tables, limit=limit)))

    def health(self) -> Health:
        """Who holds back vacuum: always from the primary, whose sessions and statistics a replica does not have."""
        return at_once(self._looking.health())

    def replica_health(self) -> ReplicaHealth:
        """Whether the replica would be asked now, and why not. Raises ConfigurationError if none was given."""
        return at_once(self._looking.replica_health())

    def look(self, function: Callable[[_Connection, Tables], _T]) -> Looked[_T]:
        """What ``function(connection, tables)`` finds, on the replica if that will do. It must change nothing.

        Raises as :meth:`status`, and what the function raises on the primary.
        """

        async def call(session: _Session) -> _T:
            with explained(session.connection, self._tables):
                return function(session.connection, self._tables)

        return at_once(self._looking.look(call))

    @asynccontextmanager
    async def _session(
        self, source: object, *, timeout: float, name: str = "rmqpool outbox"
    ) -> AsyncIterator[_Session]:
        with session(source, timeout=timeout, name=name) as connection:
            yield _Session(connection, self._tables)

    def __repr__(self) -> str:
        return f"<Inspector {self._tables.outbox}{'' if self._looking.replica is None else ', with a replica'}>"


class _Session:
    """A connection that blocks: whoever awaits it never waits."""

    def __init__(self, connection: _Connection, tables: Tables) -> None:
        self.connection, self._tables = connection, tables

    @asynccontextmanager
    async def transaction(self, timeout: float) -> AsyncIterator[Ask]:
        with transaction(self.connection, self._tables, timeout=timeout, read_only=True) as cursor:
            yield asking(cursor)

    async def check_version(self) -> None:
        with explained(self.connection, self._tables):
            check_version(self.connection, self._tables)
