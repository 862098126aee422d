"""AsyncInspector: Inspector for asyncio."""

from __future__ import annotations

from rmqpool.outbox import inspection
from rmqpool.outbox.adapters.async_sessions import AwaitedSession, awaited_session, check_async_source
from rmqpool.outbox.inspection import COUNTED, DeadRow, StalledKey, Status
from rmqpool.outbox.inspection_health import Health
from rmqpool.outbox.looking import Looked, Looking, ReplicaHealth
from rmqpool.outbox.tables import Tables, tables_or_default

__all__ = ["AsyncInspector"]


class AsyncInspector:
    """As :class:`rmqpool.outbox.Inspector`, awaited.

    ``database`` and ``replica`` are URLs, psycopg AsyncConnections in autocommit, an AsyncOutboxPool, or pools of the
    application's (psycopg_pool.AsyncConnectionPool, a SQLAlchemy AsyncEngine, an asyncpg Pool), which belong to one event
    loop. One look is one read-only transaction on one connection of each server.
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
        check_async_source(database, "AsyncInspector", "the database's")
        if replica is not None:
            check_async_source(replica, "AsyncInspector(replica=…)", "the replica's")
        self._tables = tables_or_default(tables)
        self._looking: Looking[AwaitedSession] = Looking(
            database,
            replica=replica,
            max_lag=max_lag,
            tables=self._tables,
            timeout=timeout,
            session=lambda source, **options: awaited_session(source, self._tables, **options),
        )

    async def status(self, *, counted: int = COUNTED) -> Looked[Status]:
        """As :meth:`rmqpool.outbox.Inspector.status`."""
        return await self._looking.status(counted)

    async def stalled_keys(self, *, limit: int = 100) -> Looked[list[StalledKey]]:
        """As :meth:`rmqpool.outbox.Inspector.stalled_keys`."""
        return await self._looking.ask(lambda ask: inspection.stalled_keys_of(ask, self._tables, limit=limit))

    async def dead_rows(self, *, limit: int = 100) -> Looked[list[DeadRow]]:
        """As :meth:`rmqpool.outbox.Inspector.dead_rows`."""
        return await self._looking.ask(lambda ask: inspection.dead_rows_of(ask, self._tables, limit=limit))

    async def health(self) -> Health:
        """As :meth:`rmqpool.outbox.Inspector.health`: always the primary's."""
        return await self._looking.health()

    async def replica_health(self) -> ReplicaHealth:
        """As :meth:`rmqpool.outbox.Inspector.replica_health`."""
        return await self._looking.replica_health()

    def __repr__(self) -> str:
        return f"<AsyncInspector {self._tables.outbox}{'' if self._looking.replica is None else ', with a replica'}>"
