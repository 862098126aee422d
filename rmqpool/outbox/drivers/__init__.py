"""How each database library executes our statement inside the caller's own transaction.

A driver is found by the class of the connection, so that no library is imported which the application does not use.
"""

from __future__ import annotations

import importlib
from typing import Any

from rmqpool.errors import UnsupportedConnectionError
from rmqpool.late_imports import IMPORTING
from rmqpool.outbox.class_lookup import module_for
from rmqpool.outbox.drivers.protocol import AsyncDriver, SyncDriver

__all__ = ["AsyncDriver", "SyncDriver", "async_driver_of", "sync_driver_of"]

# The first module of a class's path and its name -> our module with a `driver`.
_SYNC = {
    ("psycopg", "Connection"): "psycopg3",
    ("psycopg2", "connection"): "psycopg2",
    ("sqlalchemy", "Connection"): "sqlalchemy",
    ("sqlalchemy", "Session"): "sqlalchemy",
    ("sqlalchemy", "scoped_session"): "sqlalchemy",
    ("django", "BaseDatabaseWrapper"): "django",
    ("django", "ConnectionProxy"): "django",
}
_ASYNC = {
    ("psycopg", "AsyncConnection"): "async_psycopg3",
    ("asyncpg", "Connection"): "asyncpg",
    ("asyncpg", "PoolConnectionProxy"): "asyncpg",
    ("sqlalchemy", "AsyncConnection"): "async_sqlalchemy",
    ("sqlalchemy", "AsyncSession"): "async_sqlalchemy",
    ("sqlalchemy", "async_scoped_session"): "async_sqlalchemy",
}
# What makes connections, and is easily taken for one.
_MAKERS = ("Pool", "Engine", "sessionmaker")
_found: dict[tuple[type, bool], Any] = {}


def sync_driver_of(connection: object) -> SyncDriver:
    """The driver for a connection that blocks. Raises UnsupportedConnectionError."""
    driver: SyncDriver = _driver_of(connection, asynchronous=False)
    return driver


def async_driver_of(connection: object) -> AsyncDriver:
    """The driver for a connection that is awaited. Raises UnsupportedConnectionError."""
    driver: AsyncDriver = _driver_of(connection, asynchronous=True)
    return driver


def _driver_of(connection: object, *, asynchronous: bool) -> Any:
    kind = type(connection)
    driver = _found.get((kind, asynchronous))
    if driver is None:
        module = module_for(kind, _ASYNC if asynchronous else _SYNC)
        if module is None:
            raise _unsupported(kind, asynchronous)
        with IMPORTING:
            driver = importlib.import_module(f"rmqpool.outbox.drivers.{module}").driver
        _found[kind, asynchronous] = driver
    return driver


def _unsupported(kind: type, asynchronous: bool) -> UnsupportedConnectionError:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if module_for(kind, _SYNC if asynchronous else _ASYNC) is not None:
        other = "Outbox" if asynchronous else "AsyncOutbox"
        return UnsupportedConnectionError(f"{name} is a connection for {other}: use that one with it")
    if any(base.__name__.endswith(_MAKERS) for base in kind.__mro__):
        return UnsupportedConnectionError(
            f"{name} makes connections and is in no transaction itself: take a connection or session from it, begin a "
            "transaction on that, and pass that one"
        )
    known = sorted({module for module, _ in (*_SYNC, *_ASYNC)})
    return UnsupportedConnectionError(
        f"{name} is no connection that the outbox knows; give it the connection or session of your own transaction, "
        f"of one of these: {', '.join(known)}"
    )
