"""What OutboxPool and AsyncOutboxPool have in common: options, checks before use, and what psycopg's errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import psycopg_pool
import tenacity

from rmqpool.errors import (
    CommitUnknownError,
    PoolClosedError,
    PoolError,
    PoolTimeoutError,
    TooManyWaitingError,
)
from rmqpool.outbox.conninfo import read_conninfo
from rmqpool.secret import Secret

__all__ = [
    "IdleTimes",
    "OutboxPoolStats",
    "commit_failed",
    "connection_options",
    "is_worth_another_attempt",
    "not_given",
    "retrying",
    "stats_of",
]

_RETRIED = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)  # 40001, 40P01


@dataclass(frozen=True, slots=True)
class OutboxPoolStats:
    """A pool at one moment. ``waited_ms`` and ``used_ms`` are sums, in milliseconds, since the pool was made."""

    name: str
    min_size: int
    max_size: int
    size: int
    idle: int
    waiting: int
    requests: int
    waited_ms: int
    used_ms: int
    timeouts: int
    connections: int
    connections_lost: int


def connection_options(database: str | Secret, name: str, *, pgbouncer: bool) -> dict[str, Any]:
    """psycopg's arguments for each connection. Raises ConfigurationError."""
    options: dict[str, Any] = {"connect_timeout": 10, "application_name": name, **read_conninfo(database)}
    if pgbouncer:  # in transaction mode the next statement may meet another server: it knows no statement of ours
        options["prepare_threshold"] = None
    return options


class IdleTimes:
    """Which connections were idle for so long that they are looked at before use. Thread-safe as a dict is."""

    def __init__(self, check_after: float) -> None:
        self._check_after = check_after
        self._since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def returned(self, connection: object) -> None:
        """It is idle from now on."""
        self._since[connection] = time.monotonic()

    def needs_check(self, connection: object) -> bool:
        """It was idle for longer than ``check_after`` seconds."""
        since = self._since.get(connection)
        return since is not None and time.monotonic() - since > self._check_after


def stats_of(pool: Any) -> OutboxPoolStats:
    """psycopg_pool's figures by our names."""
    figures = pool.get_stats()
    return OutboxPoolStats(
        name=pool.name,
        min_size=figures["pool_min"],
        max_size=figures["pool_max"],
        size=figures["pool_size"],
        idle=figures["pool_available"],
        waiting=figures.get("requests_waiting", 0),
        requests=figures.get("requests_num", 0),
        waited_ms=figures.get("requests_wait_ms", 0),
        used_ms=figures.get("usage_ms", 0),
        timeouts=figures.get("requests_errors", 0),
        connections=figures.get("connections_num", 0),
        connections_lost=figures.get("connections_lost", 0),
    )


def not_given(error: psycopg_pool.PoolTimeout | psycopg.Error, pool: Any, timeout: float) -> PoolError:
    """Why there is no connection, with the numbers."""
    stats = stats_of(pool)
    numbers = f"{stats.size} of {stats.max_size} connections, {stats.idle} idle, {stats.waiting} callers waiting"
    if isinstance(error, psycopg_pool.PoolTimeout):
        return PoolTimeoutError(
            f"no connection to Postgres within {timeout:g} s ({numbers}): is the server up, are transactions kept open for "
            "too long, is max_size too small?"
        )
    if isinstance(error, psycopg_pool.TooManyRequests):
        return TooManyWaitingError(f"as many callers as max_waiting allows wait for Postgres already ({numbers})")
    if isinstance(error, psycopg_pool.PoolClosed):
        return PoolClosedError("the pool of Postgres connections is closed, or was not opened: call open()")
    return PoolError(f"no connection to Postgres: {error} ({numbers})")


def commit_failed(error: psycopg.Error) -> CommitUnknownError | None:
    """What a failed COMMIT means: None if Postgres itself said no, for then nothing was committed."""
    if error.sqlstate is not None and not error.sqlstate.startswith(("08", "57P")):
        return None
    return CommitUnknownError(
        "the connection to Postgres was lost while a COMMIT was under way: nobody knows whether it was done. Look for its "
        "effects before doing it again"
    )


def is_worth_another_attempt(error: BaseException) -> bool:
    """A serialization failure, a deadlock, or a connection lost before the COMMIT: nothing was done."""
    if isinstance(error, _RETRIED):
        return True
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(("08", "57P"))


def retrying(attempts: int, deadline: float) -> dict[str, Any]:
    """tenacity's arguments: full jitter, so many attempts within ``deadline`` seconds, the last error as it is."""
    retry: Callable[[BaseException], bool] = is_worth_another_attempt
    return {
        "retry": tenacity.retry_if_exception(retry),
        "stop": tenacity.stop_after_attempt(attempts) | tenacity.stop_before_delay(deadline),
        "wait": tenacity.wait_random_exponential(multiplier=0.02, max=1.0),
        "reraise": True,
    }
