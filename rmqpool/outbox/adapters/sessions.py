"""A connection for the outbox' own statements, from whatever the caller has: a URL, a connection, or a pool of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final, cast

import psycopg

from rmqpool.outbox.adapters import lender_of
from rmqpool.outbox.adapters.liveness import is_idle
from rmqpool.outbox.adapters.port import Borrowed, Lender
from rmqpool.outbox.adapters.raw_manners import PlainManners
from rmqpool.outbox.conninfo import read_conninfo
from rmqpool.outbox.inspection_connection import connect
from rmqpool.secret import Secret

__all__ = ["TIMEOUT", "check_source", "session"]

TIMEOUT: Final = 30.0
"""Seconds to wait for the application's pool, where the caller says nothing else."""


@contextlib.contextmanager
def session(
    source: object, *, timeout: float = TIMEOUT, name: str = "rmqpool outbox"
) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit and in no transaction, for as long as the block lasts.

    ``source`` is a psycopg connection, which is used as it is; a URL; or a pool of the application's, whose connection goes
    back as it was found: closed if the block left it in a transaction that cannot be rolled back, or broken. ``timeout``
    seconds bound the wait for it. Raises ConfigurationError, ConnectionFailedError, PoolError.
    """
    if isinstance(source, psycopg.Connection):
        yield source
    elif isinstance(source, str | Secret):
        with contextlib.closing(connect(source, name=name)) as connection:
            yield connection
    elif _is_facade(source):
        yield cast("psycopg.Connection[Any]", source)
    else:
        with _lent(lender_of(source, "the outbox"), time.monotonic() + timeout) as connection:
            yield connection


@contextlib.contextmanager
def _lent(lender: Lender, deadline: float) -> Iterator[psycopg.Connection[Any]]:
    borrowed = lender.take(deadline)
    is_well = False
    try:
        _end_transaction(borrowed)
        plain = _plain(borrowed.raw)
        try:
            yield cast("psycopg.Connection[Any]", plain[0])
        finally:
            _end_transaction(borrowed)
            if borrowed.raw is not None and is_idle(borrowed.raw):
                plain[1].restore()
                is_well = is_idle(borrowed.raw)
    finally:
        if is_well:
            borrowed.give_back()
        else:
            borrowed.discard()


def _plain(raw: Any) -> tuple[Any, Any]:
    """What our statements run on, and what restores it."""
    if isinstance(raw, psycopg.Connection):
        return raw, PlainManners(raw, autocommit=True)
    from rmqpool.outbox.adapters.psycopg2_facade import Facade

    facade = Facade(raw)
    return facade, facade


def _end_transaction(borrowed: Borrowed) -> None:
    """Whoever had it before may have left one open, and so may the block."""
    raw = borrowed.raw
    if raw is not None and not raw.closed and not is_idle(raw):
        with contextlib.suppress(Exception):  # it is discarded then
            raw.rollback()


def check_source(source: object, place: str, whose: str) -> None:
    """Raise ConfigurationError for what :func:`session` would not take; ``place`` and ``whose`` URL it is, for the error."""
    if isinstance(source, str | Secret):
        read_conninfo(source, whose)
    elif not isinstance(source, psycopg.Connection) and not _is_facade(source):
        lender_of(source, place)


def _is_facade(source: object) -> bool:
    return type(source).__module__ == "rmqpool.outbox.adapters.psycopg2_facade"
