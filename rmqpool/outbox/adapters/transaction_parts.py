"""What transactions on the application's pools share, blocking or awaited: what a failed COMMIT means, and figures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rmqpool.errors import PoolTimeoutError
from rmqpool.outbox.adapters.failures import as_psycopg
from rmqpool.outbox.adapters.port import AsyncLender, Lender
from rmqpool.outbox.pool_parts import Figures, OutboxPoolStats, commit_failed

__all__ = ["outcome_of_commit", "stats_of_lender", "waiting"]


def outcome_of_commit(error: Exception) -> str:
    """How a transaction ended whose COMMIT raised ``error``, in the words of :class:`OutboxPoolStats`; to be raised again.

    Raises CommitUnknownError when the server's answer was lost.
    """
    known = as_psycopg(error)
    if known is None:  # not the database's: a hook of the library, and nobody knows whether it came before
        return "unknown"
    unknown = commit_failed(known)
    if unknown is not None:
        raise unknown from error
    return "rolled_back"


@contextlib.contextmanager
def waiting(figures: Figures) -> Iterator[None]:
    """Somebody waits for the application's pool in this block, blocking or awaiting: counted and timed."""
    began = time.monotonic()
    figures.count("requests")
    figures.count("waiting")
    try:
        yield
    except PoolTimeoutError:
        figures.count("timeouts")
        raise
    finally:
        figures.count("waiting", -1)
        figures.count("waited_ms", round(1000 * (time.monotonic() - began)))


def stats_of_lender(lender: Lender | AsyncLender, own: Figures) -> OutboxPoolStats:
    """The sizes that the application's pool tells, and our own counts."""
    counts, (size, largest, idle) = own.counts(), lender.sizes()
    counted = (
        "leased",
        "waiting",
        "requests",
        "waited_ms",
        "used_ms",
        "timeouts",
        "committed",
        "rolled_back",
        "unknown",
    )
    return OutboxPoolStats(
        name=lender.what, min_size=0, max_size=largest, size=size, idle=idle, connections=0, connections_lost=0, found_lost=0,
        **{name: counts[name] for name in counted},
    )  # fmt: skip
