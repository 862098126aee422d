"""Which driver a connection gets, what is refused, and that no library is loaded which nobody uses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import asyncpg
import psycopg
import psycopg2.extensions
import psycopg2.extras
import psycopg_pool
import pytest
import sqlalchemy
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionProxy
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from rmqpool.errors import OutboxSchemaError, UnsupportedConnectionError
from rmqpool.outbox.drivers import async_driver_of, sync_driver_of
from rmqpool.outbox.drivers.protocol import explain
from rmqpool.outbox.tables import Tables

SYNC = {
    psycopg.Connection: "psycopg3",
    psycopg2.extensions.connection: "psycopg2",
    psycopg2.extras.LoggingConnection: "psycopg2",
    sqlalchemy.Connection: "sqlalchemy",
    Session: "sqlalchemy",
    scoped_session: "sqlalchemy",
    BaseDatabaseWrapper: "django",
    ConnectionProxy: "django",
}
ASYNC = {
    psycopg.AsyncConnection: "async_psycopg3",
    asyncpg.Connection: "asyncpg",
    asyncpg.pool.PoolConnectionProxy: "asyncpg",
    AsyncConnection: "async_sqlalchemy",
    AsyncSession: "async_sqlalchemy",
    async_scoped_session: "async_sqlalchemy",
}
MAKERS = [
    psycopg_pool.ConnectionPool,
    psycopg_pool.AsyncConnectionPool,
    psycopg_pool.NullConnectionPool,
    asyncpg.Pool,
    sqlalchemy.Engine,
    AsyncEngine,
    sessionmaker,
]


def instance(kind: Any) -> Any:
    """An object of a class, or of one that an application derived from it, with nothing in it."""
    derived = type("OfTheApplication", (kind,), {"__init__": lambda self: None, "__del__": lambda self: None})
    return derived.__new__(derived)


@pytest.mark.parametrize(("kind", "module"), SYNC.items())
def test_a_blocking_connection_has_its_driver(kind: Any, module: str) -> None:
    """The class decides, derived ones included; AsyncOutbox says that the connection is one for Outbox."""
    assert type(sync_driver_of(instance(kind))).__module__ == f"rmqpool.outbox.drivers.{module}"
    with pytest.raises(UnsupportedConnectionError, match="is a connection for Outbox"):
        async_driver_of(instance(kind))


@pytest.mark.parametrize(("kind", "module"), ASYNC.items())
def test_an_awaited_connection_has_its_driver(kind: Any, module: str) -> None:
    """The class decides; Outbox says that the connection is one for AsyncOutbox."""
    made = kind.__new__(kind) if "Proxy" in kind.__name__ else instance(kind)
    assert type(async_driver_of(made)).__module__ == f"rmqpool.outbox.drivers.{module}"
    with pytest.raises(UnsupportedConnectionError, match="is a connection for AsyncOutbox"):
        sync_driver_of(made)


@pytest.mark.parametrize("driver_of", [sync_driver_of, async_driver_of])
@pytest.mark.parametrize("kind", MAKERS)
def test_what_makes_connections_is_none(kind: Any, driver_of: Any) -> None:
    """A pool, an engine or a maker of sessions is in no transaction: the way out is named."""
    with pytest.raises(UnsupportedConnectionError, match=r"take a connection or session from it, begin a transaction"):
        driver_of(instance(kind))


@pytest.mark.parametrize("thing", [None, "postgresql://somewhere", 7, object()])
def test_anything_else_is_refused_with_what_is_known(thing: Any) -> None:
    """The message names the class that was given, and the libraries; a URL is not repeated."""
    with pytest.raises(UnsupportedConnectionError, match=r"asyncpg, django, psycopg, psycopg2, sqlalchemy") as refused:
        sync_driver_of(thing)
    assert "somewhere" not in str(refused.value)
    assert isinstance(refused.value, TypeError)


def test_only_what_the_outbox_has_to_do_with_is_explained() -> None:
    """Tables, rights and read-only transactions are explained; anything else is the application's own."""
    for sqlstate in ("42P01", "3F000", "42703", "42501", "25006"):
        assert isinstance(explain(ValueError("the server's words"), sqlstate, Tables()), OutboxSchemaError)
    for sqlstate in ("40001", "40P01", "23505", "57P01", "", None):
        assert explain(ValueError("x"), sqlstate, Tables()) is None


@pytest.mark.parametrize(
    ("imports", "connection", "others"),
    [
        ("import psycopg2.extensions as e", "e.connection.__new__(e.connection)", "psycopg sqlalchemy django asyncpg"),
        ("import asyncpg", "asyncpg.Connection.__new__(asyncpg.Connection)", "psycopg psycopg2 sqlalchemy django"),
        ("import django.utils.connection as c", "c.ConnectionProxy({}, 'x')", "psycopg psycopg2 sqlalchemy asyncpg"),
        ("import sqlalchemy as s", "s.Connection.__new__(s.Connection)", "psycopg psycopg2 django asyncpg"),
    ],
)
def test_a_library_that_nobody_uses_is_not_loaded(imports: str, connection: str, others: str) -> None:
    """A service with one library needs no other one installed."""
    code = (
        f"import sys\nfor name in {others.split()!r}: sys.modules[name] = None\n{imports}\n"
        "from rmqpool.outbox import AsyncOutbox, Outbox\nOutbox(), AsyncOutbox()\n"
        "from rmqpool.outbox.drivers import async_driver_of, sync_driver_of\n"
        f"(async_driver_of if 'asyncpg' in {imports!r} else sync_driver_of)({connection})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
