"""How a connection begins its transactions: set for one lease, and put back to what it was afterwards.

All of it lives in psycopg, none in the server's session: so it works behind PgBouncer, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

__all__ = ["Manners", "adopt", "adopt_async", "restore", "restore_async"]


class Manners(NamedTuple):
    """What a connection had before its lease."""

    autocommit: bool
    isolation_level: IsolationLevel | None
    read_only: bool | None
    deferrable: bool | None
    row_factory: Any

    @classmethod
    def of(cls, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> Manners:
        """Those of a connection."""
        return cls(
            connection.autocommit,
            connection.isolation_level,
            connection.read_only,
            connection.deferrable,
            connection.row_factory,
        )


def adopt(connection: psycopg.Connection[Any], isolation: IsolationLevel | None) -> Manners:
    """Transactions from now on, at this level (None: as it was); returns what to restore."""
    before = Manners.of(connection)
    if before.autocommit:
        connection.autocommit = False
    if isolation is not None and isolation != before.isolation_level:
        connection.isolation_level = isolation
    return before


async def adopt_async(connection: psycopg.AsyncConnection[Any], isolation: IsolationLevel | None) -> Manners:
    """As :func:`adopt`."""
    before = Manners.of(connection)
    if before.autocommit:
        await connection.set_autocommit(False)
    if isolation is not None and isolation != before.isolation_level:
        await connection.set_isolation_level(isolation)
    return before


def restore(connection: psycopg.Connection[Any], before: Manners) -> None:
    """As it was; a connection that is not idle is not used again anyway."""
    if connection.pgconn.transaction_status != TransactionStatus.IDLE or Manners.of(connection) == before:
        return
    connection.autocommit = before.autocommit
    connection.isolation_level = before.isolation_level
    connection.read_only = before.read_only
    connection.deferrable = before.deferrable
    connection.row_factory = before.row_factory


async def restore_async(connection: psycopg.AsyncConnection[Any], before: Manners) -> None:
    """As :func:`restore`."""
    if connection.pgconn.transaction_status != TransactionStatus.IDLE or Manners.of(connection) == before:
        return
    await connection.set_autocommit(before.autocommit)
    await connection.set_isolation_level(before.isolation_level)
    await connection.set_read_only(before.read_only)
    await connection.set_deferrable(before.deferrable)
    connection.row_factory = before.row_factory
