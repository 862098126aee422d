"""Inspector: looks at an outbox from a read-only replica, and from the primary when that would not be the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import psycopg

from rmqpool.core.replica import ReplicaFacts, lag_of, refusal
from rmqpool.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    PoolError,
    RmqpoolError,
)
from rmqpool.outbox import inspection, inspection_health
from rmqpool.outbox.adapters.sessions import session
from rmqpool.outbox.inspection import COUNTED, DeadRow, RelayStatus, StalledKey, Status
from rmqpool.outbox.inspection_connection import explained, rows_of, transaction
from rmqpool.outbox.inspection_health import Health
from rmqpool.outbox.migrations import check_version
from rmqpool.outbox.tables import Tables, tables_or_default
from rmqpool.pool_options import seconds

__all__ = ["Inspector", "Looked"]

_T = TypeVar("_T")
_Connection = psycopg.Connection[Any]
_AWAY = (ConnectionFailedError, ConnectionLostError, PoolError)
_TIMEOUT = 10.0  # seconds to ask a server how it is
# With the primary's position: has all of it been replayed? Without: all that was received, while somebody receives.
_FACTS = """
SELECT pg_is_in_recovery(),
    CASE WHEN NOT pg_is_in_recovery() THEN true
        WHEN CAST(%s AS pg_lsn) IS NOT NULL THEN coalesce(pg_last_wal_replay_lsn() >= CAST(%s AS pg_lsn), false)
        ELSE coalesce(pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn(), false)
            AND EXISTS (SELECT FROM pg_stat_wal_receiver
                WHERE pid IS NOT NULL AND coalesce(status, 'streaming') = 'streaming') END,
    CAST(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) AS float8)"""
# Not what is flushed: relays delete with synchronous_commit off, and that is seen before it is flushed and sent.
_POSITION = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE CAST(pg_current_wal_insert_lsn() AS text) END"


@dataclass(frozen=True, slots=True)
class Looked(Generic[_T]):
    """What was found, and where.

    ``lag`` is seconds that the source was behind, at most. ``why`` says why the primary was asked although there is a
    replica; empty otherwise. ``relays_known`` False: the primary, which alone knows its relays, could not be asked, and a
    Status has none.
    """

    found: _T
    source: Literal["primary", "replica"]
    lag: float = 0.0
    why: str = ""
    relays_known: bool = True


class Inspector:
    """Status, stalled keys and dead rows of an outbox, from ``replica`` while that is at most ``max_lag`` seconds behind.

    ``database`` and ``replica`` are URLs, psycopg connections in autocommit, or pools of the application's
    (psycopg_pool.ConnectionPool, a SQLAlchemy Engine, ``django.db.connections[alias]``). A replica that is away, too far
    behind, or none at all (a primary) is told in ``why``, and the primary is asked. ``timeout`` seconds bound the wait for
    a connection of a pool; a URL's ``connect_timeout`` is its own.

    Thread-safe, except with a psycopg connection. Raises ConfigurationError for what cannot be meant.
    """

    def __init__(
        self,
        database: object,
        *,
        replica: object = None,
        max_lag: float = 10.0,
        tables: Tables | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._database, self._replica = database, replica
        self._max_lag, self._timeout = seconds("max_lag", max_lag), seconds("timeout", timeout)
        self._tables = tables_or_default(tables)

    def status(self, *, counted: int = COUNTED) -> Looked[Status]:
        """The state of the outbox. The relays are the primary's to tell: it is asked for them in any case.

        Raises OutboxSchemaError, OutboxError, ConnectionFailedError, ConnectionLostError, PoolError.
        """
        if self._replica is None:
            return self.look(lambda connection, tables: inspection.status(connection, tables, counted=counted))
        primary = self._ask_primary()

        def look(connection: _Connection, tables: Tables) -> Status:
            return inspection.status(connection, tables, counted=counted)

        looked = self._look(look, primary.position)
        if looked.source == "primary":
            return looked
        found = dataclasses.replace(looked.found, relays=primary.relays, awake=primary.awake)
        return dataclasses.replace(looked, found=found, relays_known=primary.is_there)

    def stalled_keys(self, *, limit: int = 100) -> Looked[list[StalledKey]]:
        """As :func:`rmqpool.outbox.inspection.stalled_keys`. Raises as :meth:`status`."""
        return self.look(lambda connection, tables: inspection.stalled_keys(connection, tables, limit=limit))

    def dead_rows(self, *, limit: int = 100) -> Looked[list[DeadRow]]:
        """As :func:`rmqpool.outbox.inspection.dead_rows`. Raises as :meth:`status`."""
        return self.look(lambda connection, tables: inspection.dead_rows(connection, tables, limit=limit))

    def health(self) -> Health:
        """Who holds back vacuum: always from the primary, whose sessions and statistics a replica does not have."""
        with session(self._database, timeout=self._timeout) as connection:
            return inspection_health.health(connection, self._tables)

    def look(self, function: Callable[[_Connection, Tables], _T]) -> Looked[_T]:
        """What ``function(connection, tables)`` finds, on the replica if that will do. It must change nothing.

        Raises as :meth:`status`, and what the function raises on the primary.
        """
        return self._look(function, None)

    def _look(self, function: Callable[[_Connection, Tables], _T], position: str | None) -> Looked[_T]:
        why = ""
        if self._replica is not None:
            try:
                with session(self._replica, timeout=self._timeout, name="rmqpool outbox replica") as connection:
                    facts = self._facts(connection, position)
                    why = refusal(facts, self._max_lag)
                    if not why:
                        check_version(connection, self._tables)
                        return Looked(function(connection, self._tables), "replica", lag_of(facts) or 0.0)
            except ConfigurationError:
                raise
            except (RmqpoolError, psycopg.Error) as error:  # also a conflict with what the replica replays
                why = f"the replica could not be asked: {_line(error)}"
        try:
            with session(self._database, timeout=self._timeout) as connection, explained(connection, self._tables):
                check_version(connection, self._tables)
                return Looked(function(connection, self._tables), "primary", why=why)
        except _AWAY as error:
            if not why:
                raise
            told = f"neither server could be asked. The primary: {_line(error)}. The replica: {why}"
            raise ConnectionFailedError(told) from error

    def _facts(self, connection: _Connection, position: str | None) -> ReplicaFacts:
        with transaction(connection, self._tables, timeout=_TIMEOUT, read_only=True) as cursor:
            return ReplicaFacts(*rows_of(cursor, _FACTS, position, position)[0])

    def _ask_primary(self) -> _Primary:
        try:
            with (
                session(self._database, timeout=self._timeout) as connection,
                transaction(connection, self._tables, timeout=_TIMEOUT, read_only=True) as cursor,
            ):
                position = rows_of(cursor, _POSITION)[0][0]
                relays, awake = inspection.relays_of(cursor, self._tables)
                return _Primary(True, position, relays, awake)
        except ConfigurationError:
            raise
        except (RmqpoolError, psycopg.Error):  # if the replica does not help either, this is asked again, and told
            return _Primary(False)

    def __repr__(self) -> str:
        return f"<Inspector {self._tables.outbox}{'' if self._replica is None else ', with a replica'}>"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@dataclass(frozen=True, slots=True)
class _Primary:
    """What only the primary knows. ``position`` is how far its log is written; None: not known."""

    is_there: bool
    position: str | None = None
    relays: tuple[RelayStatus, ...] = ()
    awake: bool = False
