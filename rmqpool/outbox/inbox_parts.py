"""What Inbox and AsyncInbox have in common: what a failure means for a message."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from rmqpool.errors import (
    CommitUnknownError,
    ConfigurationError,
    ConnectionLostError,
    InboxUnavailableError,
    PoolError,
)
from rmqpool.outbox.pool_parts import is_worth_another_attempt

__all__ = ["lock_timeout_text", "prune_seconds", "unavailable"]


def unavailable(error: BaseException, broken: bool) -> InboxUnavailableError | None:
    """What is to be tried again later, without the message being to blame; None: the handler's own failure.

    ``broken``: the transaction's connection is lost.
    """
    if isinstance(error, CommitUnknownError):
        what = (
            "the answer to the COMMIT was lost; the message is looked at again, and the inbox knows whether it was done"
        )
    elif isinstance(error, PoolError | ConnectionLostError):
        what = str(error)
    elif isinstance(error, psycopg.errors.LockNotAvailable):
        what = "somebody else has been handling the same message for too long"
    elif isinstance(error, psycopg.Error) and (broken or is_worth_another_attempt(error)):
        what = f"Postgres gave the transaction up ({str(error).strip() or type(error).__name__})"
    else:
        return None
    return InboxUnavailableError(f"nothing was done: {what}")


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
