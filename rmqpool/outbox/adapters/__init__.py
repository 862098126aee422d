"""The application's own pools in the place of ours: SQLAlchemy's engines, psycopg_pool, asyncpg's pool, Django's aliases.

A pool is found by its class, so that no library is imported which the application does not use. It stays the application's:
it is neither opened nor closed here, and each connection goes back exactly once, as it was found.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from rmqpool.errors import ConfigurationError
from rmqpool.late_imports import IMPORTING
from rmqpool.outbox.adapters.port import AsyncLender, Lender
from rmqpool.outbox.class_lookup import module_for

__all__ = [
    "AsyncLender",
    "Lender",
    "async_borrowing_pool",
    "async_lender_of",
    "borrowing_pool",
    "is_async_pool",
    "is_pool",
    "lender_of",
]

# The first module of a class's path and its name -> our module with a `lender`.
_SYNC: Final = {
    ("psycopg_pool", "ConnectionPool"): "psycopg_pools",
    ("sqlalchemy", "Engine"): "engine",
    ("django", "BaseDatabaseWrapper"): "django_alias",
    ("django", "ConnectionProxy"): "django_alias",
}
_ASYNC: Final = {
    ("psycopg_pool", "AsyncConnectionPool"): "",  # AsyncOutboxPool itself works with it
    ("sqlalchemy", "AsyncEngine"): "async_engine",
    ("asyncpg", "Pool"): "asyncpg_pools",
}
_TAKEN: Final = "a psycopg_pool.ConnectionPool, a SQLAlchemy Engine (psycopg or psycopg2), django.db.connections[alias]"
_TAKEN_ASYNC: Final = (
    "a psycopg_pool.AsyncConnectionPool, a SQLAlchemy AsyncEngine (psycopg or asyncpg), an asyncpg Pool"
)


def is_pool(source: object) -> bool:
    """Whether it is a pool of the application's that blocks."""
    return module_for(type(source), _SYNC) is not None


def is_async_pool(source: object) -> bool:
    """Whether it is a pool of the application's that is awaited."""
    return module_for(type(source), _ASYNC) is not None


def lender_of(source: object, place: str) -> Lender:
    """Who lends connections of this pool. ``place`` is who asks, for the error. Raises ConfigurationError."""
    lender: Lender = _lender_of(source, place, asynchronous=False)
    return lender


def async_lender_of(source: object, place: str) -> AsyncLender:
    """As :func:`lender_of`, awaited."""
    lender: AsyncLender = _lender_of(source, place, asynchronous=True)
    return lender


def borrowing_pool(source: object, outbox: object) -> Any:
    """An OutboxPool on another pool than psycopg_pool's. Raises ConfigurationError."""
    lender = lender_of(source, "OutboxPool")
    with IMPORTING:
        module = importlib.import_module("rmqpool.outbox.adapters.transactions")
    return module.borrowing(lender, outbox)


def async_borrowing_pool(source: object, outbox: object) -> Any:
    """As :func:`borrowing_pool`, awaited."""
    lender = async_lender_of(source, "AsyncOutboxPool")
    with IMPORTING:
        module = importlib.import_module("rmqpool.outbox.adapters.async_transactions")
    return module.borrowing(lender, outbox)


def _lender_of(source: object, place: str, *, asynchronous: bool) -> Any:
    kind = type(source)
    module = module_for(kind, _ASYNC if asynchronous else _SYNC)
    if module is not None:
        with IMPORTING:
            return importlib.import_module(f"rmqpool.outbox.adapters.{module}").lender(source)
    name = f"{kind.__module__}.{kind.__qualname__}"
    taken = _TAKEN_ASYNC if asynchronous else _TAKEN
    if module_for(kind, _SYNC if asynchronous else _ASYNC) is not None:
        raise ConfigurationError(
            f"{place} {'is awaited' if asynchronous else 'blocks'}, and a {name} "
            f"{'blocks' if asynchronous else 'is awaited'}: give it a URL, or one of these: {taken}"
        )
    if isinstance(source, str):  # which may hold a password
        raise ConfigurationError(
            f"{place}.of was given text; for a URL write {place}(url): of() takes your own pool, {taken}"
        )
    raise ConfigurationError(f"{place} was given a {name}; it takes a URL, or one of these: {taken}")
