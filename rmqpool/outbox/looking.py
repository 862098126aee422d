"""From a read-only replica, or from the primary when that would not be the truth: how an Inspector looks, awaited or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import psycopg

from rmqpool.core.replica import ReplicaFacts, lag_of, refusal
from rmqpool.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    PoolError,
    RmqpoolError,
)
from rmqpool.outbox import inspection
from rmqpool.outbox.asking import Ask
from rmqpool.outbox.inspection import RelayStatus, Status
from rmqpool.outbox.inspection_health import Health, health_of
from rmqpool.outbox.tables import Tables
from rmqpool.pool_options import seconds

__all__ = ["MAX_LAG", "Looked", "Looking", "ReplicaHealth", "Session"]

MAX_LAG: Final = 10.0
"""Seconds that a replica may be behind, unless somebody says otherwise."""

_T = TypeVar("_T")
_AWAY = (ConnectionFailedError, ConnectionLostError, PoolError)
_TIMEOUT = 10.0  # seconds to ask a server how it is
# With the primary's position: has all of it been replayed? Without: all that was received, while somebody receives.
_FACTS = """
SELECT pg_is_in_recovery(),
    CASE WHEN NOT pg_is_in_recovery() THEN true
        WHEN CAST(%s AS text) IS NOT NULL
            THEN coalesce(pg_last_wal_replay_lsn() >= CAST(CAST(%s AS text) AS pg_lsn), false)
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


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """How a replica is. ``why`` says why it would not be asked; empty if it would.

    ``in_recovery`` None: it could not be asked; False: it is a primary. ``lag`` is seconds that it is behind, at most; None:
    nobody knows. ``max_lag`` seconds are allowed.
    """

    in_recovery: bool | None
    lag: float | None
    max_lag: float
    why: str = ""


class Session(Protocol):
    """A connection, for as long as one look lasts. What goes wrong with it is an RmqpoolError or psycopg.Error."""

    def transaction(self, timeout: float) -> AbstractAsyncContextManager[Ask]:
        """A read-only transaction whose statements take ``timeout`` seconds at most."""
        ...

    async def check_version(self) -> None:
        """As :func:`rmqpool.outbox.migrations.check_version`."""
        ...


_S = TypeVar("_S", bound=Session)


@dataclass(frozen=True, slots=True)
class _Answer(Generic[_T]):
    """A replica's: what was found if there is no ``why``; ``facts`` None: it could not even say how it is."""

    why: str
    facts: ReplicaFacts | None = None
    found: Any = None


class Looking(Generic[_S]):
    """``session(source, timeout=…, name=…)`` is a connection of either server. Raises ConfigurationError."""

    def __init__(
        self,
        database: object,
        *,
        replica: object,
        max_lag: float | None,
        tables: Tables,
        timeout: float,
        session: Callable[..., AbstractAsyncContextManager[_S]],
    ) -> None:
        if max_lag is not None and replica is None:
            raise ConfigurationError(
                "max_lag is for a replica, and none was given: give replica=…, or leave max_lag out"
            )
        self.database, self.replica, self.tables = database, replica, tables
        self.max_lag = MAX_LAG if max_lag is None else seconds("max_lag", max_lag)
        self.timeout = seconds("timeout", timeout)
        self._session = session

    async def status(self, counted: int) -> Looked[Status]:
        """The state of the outbox; the relays are the primary's."""

        async def find(ask: Ask) -> Status:
            return await inspection.status_of(ask, self.tables, counted=counted)

        if self.replica is None:
            return await self.ask(find)
        primary = await self._ask_primary()
        looked = await self._look(_asked(find), primary.position)
        if looked.source == "primary":
            return looked
        found = dataclasses.replace(looked.found, relays=primary.relays, awake=primary.awake)
        return dataclasses.replace(looked, found=found, relays_known=primary.is_there)

    async def ask(self, find: Callable[[Ask], Awaitable[_T]]) -> Looked[_T]:
        """What ``find`` finds in one transaction."""
        return await self._look(_asked(find), None)

    async def look(self, function: Callable[[_S], Awaitable[_T]]) -> Looked[_T]:
        """What ``function(session)`` finds."""
        return await self._look(function, None)

    async def health(self) -> Health:
        """Always the primary's."""
        async with (
            self._session(self.database, timeout=self.timeout) as session,
            session.transaction(inspection.TIMEOUT) as ask,
        ):
            return await health_of(ask, self.tables)

    async def replica_health(self) -> ReplicaHealth:
        """How the replica is, and whether it would be asked."""
        if self.replica is None:
            raise ConfigurationError("there is no replica to look at: give replica=…")

        async def find(ask: Ask) -> Status:
            return await inspection.status_of(ask, self.tables, counted=1)

        primary = await self._ask_primary()
        answer = await self._ask_replica(_asked(find), primary.position)
        if answer.facts is None:
            return ReplicaHealth(None, None, self.max_lag, answer.why)
        lag = lag_of(answer.facts) if answer.facts.in_recovery else None
        return ReplicaHealth(answer.facts.in_recovery, lag, self.max_lag, answer.why)

    async def _look(self, function: Callable[[_S], Awaitable[_T]], position: str | None) -> Looked[_T]:
        why = ""
        if self.replica is not None:
            answer = await self._ask_replica(function, position)
            if not answer.why and answer.facts is not None:
                return Looked(answer.found, "replica", lag_of(answer.facts) or 0.0)
            why = answer.why
        try:
            async with self._session(self.database, timeout=self.timeout) as session:
                await session.check_version()
                return Looked(await function(session), "primary", why=why)
        except _AWAY as error:
            if not why:
                raise
            told = f"neither server could be asked. The primary: {_line(error)}. The replica: {why}"
            raise ConnectionFailedError(told) from error

    async def _ask_replica(self, function: Callable[[_S], Awaitable[_T]], position: str | None) -> _Answer[_T]:
        facts = None
        try:
            async with self._session(self.replica, timeout=self.timeout, name="rmqpool outbox replica") as session:
                async with session.transaction(_TIMEOUT) as ask:
                    facts = ReplicaFacts(*(await ask(_FACTS, position, position))[0])
                why = refusal(facts, self.max_lag)
                if why:
                    return _Answer(why, facts)
                await session.check_version()
                return _Answer("", facts, await function(session))
        except ConfigurationError:
            raise
        except (RmqpoolError, psycopg.Error) as error:  # also a conflict with what the replica replays
            return _Answer(f"the replica could not be asked: {_line(error)}", facts)

    async def _ask_primary(self) -> _Primary:
        try:
            async with (
                self._session(self.database, timeout=self.timeout) as session,
                session.transaction(_TIMEOUT) as ask,
            ):
                position = (await ask(_POSITION))[0][0]
                relays, awake = await inspection.relays_of(ask, self.tables)
                return _Primary(True, position, relays, awake)
        except ConfigurationError:
            raise
        except (RmqpoolError, psycopg.Error):  # if the replica does not help either, this is asked again, and told
            return _Primary(False)


def _asked(find: Callable[[Ask], Awaitable[_T]]) -> Callable[[Session], Awaitable[_T]]:
    async def function(session: Session) -> _T:
        async with session.transaction(inspection.TIMEOUT) as ask:
            return await find(ask)

    return function


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@dataclass(frozen=True, slots=True)
class _Primary:
    """What only the primary knows. ``position`` is how far its log is written; None: not known."""

    is_there: bool
    position: str | None = None
    relays: tuple[RelayStatus, ...] = ()
    awake: bool = False
