"""What Inbox and AsyncInbox have in common: what a failure means for a message."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg

from rmqpool.errors import (
    CommitUnknownError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    InboxUnavailableError,
    PoolError,
)
from rmqpool.outbox.adapters import is_async_pool, is_pool
from rmqpool.outbox.adapters.failures import as_psycopg
from rmqpool.outbox.pool_parts import is_worth_another_attempt
from rmqpool.outbox.refusals import schema_reason
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.transaction import AsyncTransaction, Transaction
from rmqpool.secret import Secret

__all__ = ["Progress", "check_inbox", "lock_timeout_text", "prune_seconds", "unavailable"]


def check_inbox(database: object, consumer: object, pools: tuple[type, type]) -> None:
    """Refuse what an inbox cannot work with. Raises ConfigurationError; a URL is not repeated."""
    ours, theirs = pools
    taken = is_async_pool if ours.__name__.startswith("Async") else is_pool
    if not isinstance(database, (str, Secret, *pools)) and not taken(database):
        others = (
            "a SQLAlchemy AsyncEngine or an asyncpg Pool"
            if taken is is_async_pool
            else ("a SQLAlchemy Engine or django.db.connections[alias]")
        )
        raise ConfigurationError(
            f"the inbox' database is a {type(database).__name__}; give a URL, an {ours.__name__}, psycopg_pool's "
            f"{theirs.__name__}, {others}"
        )
    if consumer is not None and not (isinstance(consumer, str) and consumer):
        raise ConfigurationError(f"the inbox' consumer must be a text that is not empty, or None, not {consumer!r:.80}")


class Progress:
    """How far a message's transaction came: who is to blame depends on it. Not thread-safe."""

    def __init__(self) -> None:
        self.is_handed_out = False
        self._error: BaseException | None = None
        self._lost = False

    def raised(self, error: BaseException, transaction: Transaction[Any] | AsyncTransaction[Any]) -> None:
        """The handler raised; called before the rollback, while the connection still tells whether it is lost."""
        self._error, self._lost = error, transaction.looks_lost()

    def is_handlers(self, error: BaseException) -> bool:
        """The handler raised it, and not the COMMIT."""
        return error is self._error

    @property
    def is_lost(self) -> bool:
        """The connection was lost under the handler."""
        return self._lost


def unavailable(error: BaseException, progress: Progress, tables: Tables) -> InboxUnavailableError | None:
    """What is to be tried again later, without the message being to blame; None: the handler's own failure."""
    known = as_psycopg(error) or error
    if not progress.is_handed_out:
        what = _before_the_handler(known, tables)
    elif progress.is_handlers(error):
        what = _in_the_handler(known, progress.is_lost)
    else:
        what = _at_the_commit(known)
    return None if what is None else InboxUnavailableError(what)


def _before_the_handler(error: BaseException, tables: Tables) -> str | None:
    """Nothing but its id can make the message guilty here: a text that Postgres does not take."""
    if isinstance(error, PoolError | ConnectionLostError | ConnectionFailedError):
        return f"nothing was done: {error}"
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return "nothing was done: somebody else has been handling the same message for too long"
    if isinstance(error, psycopg.DataError) or not isinstance(error, psycopg.Error):
        return None
    reason = schema_reason(error.sqlstate, tables, "handle")
    hint = "" if reason is None else f"; {reason}"
    return f"nothing was done: the message could not be marked ({_text(error)}){hint}"


def _in_the_handler(error: BaseException, lost: bool) -> str | None:
    """Whatever else the handler raises is its own failure, errors of its other connections and brokers too.

    An error without a code is the client's, and this transaction's connection is there: so it is another one's.
    """
    if lost or (isinstance(error, psycopg.Error) and error.sqlstate is not None and _is_the_servers(error)):
        return f"nothing was done: Postgres gave the transaction up ({_text(error)})"
    return None


def _at_the_commit(error: BaseException) -> str | None:
    if isinstance(error, CommitUnknownError):
        return (
            "the answer to the COMMIT was lost; the message is looked at again, and the inbox knows whether it was done"
        )
    if isinstance(error, ConnectionLostError):
        return f"nothing was done: {error}"
    if isinstance(error, psycopg.Error) and _is_the_servers(error):
        return f"nothing was done: Postgres gave the transaction up ({_text(error)})"
    return None


def _is_the_servers(error: psycopg.Error) -> bool:
    """Also when it is out of disk, memory or connections (class 53)."""
    return is_worth_another_attempt(error) or (error.sqlstate or "").startswith("53")


def _text(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def lock_timeout_text(seconds: float) -> str:
    """For SET LOCAL lock_timeout. Raises ConfigurationError."""
    if not 0 < seconds < 86_400:
        raise ConfigurationError(f"an inbox waits {seconds!r} s for others; give seconds above 0, less than a day")
    return f"{max(1, round(seconds * 1000))}ms"


def prune_seconds(older_than: float | timedelta) -> float:
    """The retention in seconds. Raises ConfigurationError."""
    seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise ConfigurationError(f"older_than is {older_than!r}; give seconds, or a timedelta")
    return float(seconds)
