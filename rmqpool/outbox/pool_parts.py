"""What OutboxPool and AsyncOutboxPool decide alike: figures, what psycopg's errors mean, and when to try again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg
import psycopg_pool
import tenacity
from psycopg.pq import TransactionStatus

from rmqpool.errors import (
    CommitUnknownError,
    ConfigurationError,
    ConnectionLostError,
    NotInTransactionError,
    PoolClosedError,
    PoolError,
    PoolTimeoutError,
    TooManyWaitingError,
)
from rmqpool.outbox.adapters.failures import as_psycopg
from rmqpool.outbox.pool_alive import is_lost
from rmqpool.pool_options import seconds, whole_number

__all__ = [
    "Figures",
    "OutboxPoolStats",
    "check_before_commit",
    "check_sizes",
    "commit_failed",
    "commit_is_impossible",
    "is_worth_another_attempt",
    "not_given",
    "retrying",
    "stats_of",
    "what_is_left",
]

_RETRIED = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)  # 40001, 40P01
_SHORTEST = 0.001  # seconds


@dataclass(frozen=True, slots=True)
class OutboxPoolStats:
    """A pool at one moment. ``waited_ms`` and ``used_ms`` are sums, in milliseconds, since the pool was made.

    ``leased`` transactions are open. ``committed``, ``rolled_back`` and ``unknown`` (the commit's answer was lost) count
    how they ended, ``found_lost`` connections that were dead before they were handed out. All of these are this object's;
    the rest is, with the application's own pool, that pool's, whoever uses it.
    """

    name: str
    min_size: int
    max_size: int
    size: int
    idle: int
    leased: int
    waiting: int
    requests: int
    waited_ms: int
    used_ms: int
    timeouts: int
    connections: int
    connections_lost: int
    committed: int
    rolled_back: int
    unknown: int
    found_lost: int


class Figures:
    """What the pool counts itself, and how many transactions are open. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.RLock()  # interrupted in its own `with`, a Condition stays locked
        self._changed = threading.Condition(self._guard)
        self._counts: Counter[str] = Counter()

    def count(self, what: str, by: int = 1) -> None:
        """So many more of it."""
        with self._guard:
            self._counts[what] += by
            self._changed.notify_all()

    def counts(self) -> Counter[str]:
        """All of them, at one moment."""
        with self._guard:
            return self._counts.copy()

    def ended(self, outcome: str, began: float) -> None:
        """A transaction that ``began`` then (monotonic) has ended in one of the ways of :class:`OutboxPoolStats`."""
        self.count(outcome)
        self.count("used_ms", round(1000 * (time.monotonic() - began)))

    def wait_for_nobody(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until no transaction is open; whether that is so."""
        with self._guard:
            return self._changed.wait_for(lambda: not self._counts["leased"], timeout)


def check_sizes(*, min_size: int, max_size: int, timeout: float, max_lifetime: float, max_idle: float) -> None:
    """Raise ConfigurationError for values that make no sense."""
    whole_number("min_size", min_size, least=0)
    if whole_number("max_size", max_size) < min_size:
        raise ConfigurationError(f"max_size is {max_size}, min_size {min_size}: give a max_size that is not below it")
    seconds("timeout", timeout)
    seconds("max_lifetime", max_lifetime)
    seconds("max_idle", max_idle)


def stats_of(pool: Any, own: Figures) -> OutboxPoolStats:
    """psycopg_pool's figures by our names, and our own."""
    figures, counts = pool.get_stats(), own.counts()
    return OutboxPoolStats(
        name=pool.name,
        min_size=figures["pool_min"],
        max_size=figures["pool_max"],
        size=figures["pool_size"],
        idle=figures["pool_available"],
        leased=counts["leased"],
        waiting=figures.get("requests_waiting", 0),
        requests=figures.get("requests_num", 0),
        waited_ms=figures.get("requests_wait_ms", 0),
        used_ms=counts["used_ms"],
        timeouts=counts["timeouts"],
        connections=figures.get("connections_num", 0),
        connections_lost=figures.get("connections_lost", 0),
        committed=counts["committed"],
        rolled_back=counts["rolled_back"],
        unknown=counts["unknown"],
        found_lost=counts["found_lost"],
    )


def not_given(error: psycopg.Error, stats: OutboxPoolStats, timeout: float, last_error: str | None) -> PoolError:
    """Why there is no connection, with the numbers."""
    numbers = f"{stats.size} of {stats.max_size} connections, {stats.idle} idle, {stats.waiting} callers waiting"
    if isinstance(error, psycopg_pool.PoolTimeout):
        said = f" The last attempt to connect said: {last_error}" if last_error is not None else ""
        return PoolTimeoutError(
            f"no connection to Postgres within {timeout:g} s ({numbers}): is the server up, are transactions kept open for "
            f"too long, is max_size too small?{said}"
        )
    if isinstance(error, psycopg_pool.TooManyRequests):
        return TooManyWaitingError(f"as many callers as max_waiting allows wait for Postgres already ({numbers})")
    return PoolClosedError("the pool of Postgres connections is closed, or was not opened: call open()")


def check_before_commit(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise what makes a commit impossible.

    Postgres answers the COMMIT of a failed transaction with a rollback, and with no error.
    """
    commit_is_impossible(is_lost(connection), connection.pgconn.transaction_status)


def commit_is_impossible(lost: bool, status: int) -> None:
    """As :func:`check_before_commit`; ``status`` is libpq's of the transaction."""
    if lost:
        raise ConnectionLostError(
            "the connection to Postgres was lost before the COMMIT: the server has rolled the transaction back; run it again"
        )
    if status == TransactionStatus.INERROR:
        raise NotInTransactionError(
            "nothing was committed: a statement of the transaction failed and the block hid its error. Let it out of the "
            "block, or put the statement into a savepoint: with transaction.connection.transaction()"
        )
    if status == TransactionStatus.ACTIVE:
        raise NotInTransactionError(
            "nothing was committed: a statement of the transaction is still under way; read all of its rows before the block "
            "ends"
        )


def commit_failed(error: psycopg.Error) -> CommitUnknownError | None:
    """What a failed COMMIT means: None if Postgres itself said no, for then nothing was committed."""
    if error.sqlstate is not None and not error.sqlstate.startswith(("08", "57P")):
        return None
    return CommitUnknownError(
        "the connection to Postgres was lost while a COMMIT was under way: nobody knows whether it was done. Look for its "
        "effects before doing it again"
    )


def is_worth_another_attempt(error: BaseException) -> bool:
    """A serialization failure, a deadlock, or a connection lost before the COMMIT: nothing was done.

    Of any library that the application's pool may be of.
    """
    known = as_psycopg(error) or error
    if isinstance(known, (*_RETRIED, ConnectionLostError)):
        return True
    return isinstance(known, psycopg.OperationalError) and (known.sqlstate or "08").startswith(("08", "57P"))


def retrying(attempts: int, deadline: float) -> dict[str, Any]:
    """tenacity's arguments: full jitter, so many attempts within ``deadline`` seconds, the last error as it is."""
    return {
        "retry": tenacity.retry_if_exception(is_worth_another_attempt),
        "stop": tenacity.stop_after_attempt(whole_number("attempts", attempts))
        | tenacity.stop_before_delay(seconds("deadline", deadline)),
        "wait": tenacity.wait_random_exponential(multiplier=0.02, max=1.0),
        "reraise": True,
    }


def what_is_left(until: float, timeout: float) -> float:
    """Seconds for the next attempt's connection: ``timeout``, but not past ``until`` (monotonic)."""
    return max(_SHORTEST, min(timeout, until - time.monotonic()))
