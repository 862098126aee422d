"""What every pool of an application's is promised when the outbox borrows from it; one suite for all kinds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy

from rmqpool.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    OutboxError,
    PoolError,
    PoolTimeoutError,
)
from rmqpool.outbox import Outbox, Tables
from rmqpool.outbox.adapters import lender_of
from rmqpool.outbox.adapters.sessions import session
from rmqpool.outbox.inspection import dead_rows, stalled_keys, status
from rmqpool.outbox.inspection_health import health
from rmqpool.outbox.migrations import LATEST, applied_versions, check_version, migrate, pending_migrations
from rmqpool.outbox.repair import prune, replay, skip
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.lenders import APPLICATIONS, Application

OpenApplication = Callable[..., Application]


@pytest.fixture
def open_application(database: str) -> Iterator[OpenApplication]:
    """Opens an application by the name of its kind; all are closed at the end."""
    opened: list[Application] = []

    def open_one(name: str, url: str = database, **options: Any) -> Application:
        opened.append(APPLICATIONS[name](url, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


# Each stands for a way of its own to take, to ask and to give back; the variants differ in what they are found as.
@pytest.fixture(params=["psycopg-pool", "engine-psycopg", "engine-psycopg2", "django", "django-pool"])
def application(request: pytest.FixtureRequest, open_application: OpenApplication) -> Application:
    """One of each kind in turn, with one connection."""
    return open_application(request.param)


def all_back(application: Application) -> None:
    """psycopg_pool takes connections back in a thread of its own."""
    wait_until(lambda: application.out() == 0, "all connections to be back", timeout=30)


def manners(raw: Any) -> tuple[Any, ...]:
    """What the application may have set on its connection."""
    names = ("autocommit", "isolation_level", "row_factory", "cursor_factory", "prepare_threshold", "read_only")
    return tuple(getattr(raw, name, None) for name in names)


def fail_in_a_transaction(application: Application, kind: type[BaseException]) -> None:
    with session(application.handed) as connection, connection.transaction():
        connection.cursor().execute(b"CREATE TABLE never_made (id int)")
        raise kind


def test_everything_that_looks_or_repairs_takes_the_applications_pool(
    application: Application, observer: psycopg.Connection[Any]
) -> None:
    """Status, stalled keys, dead rows, health, repairs: all on the one connection that the application has."""
    tables, pool = Tables(), application.handed
    with psycopg.connect(application.url) as connection:
        Outbox().publish(connection, "orders", {"id": 1})
    check_version(pool, tables)
    assert status(pool, tables).waiting.rows == 1
    assert stalled_keys(pool, tables) == []
    assert dead_rows(pool, tables) == []
    assert health(pool, tables).autovacuum in (True, False)
    assert replay(pool, tables, stalls=None, dead=None).dead == 0
    assert prune(pool, tables, dead_older_than=timedelta(days=1), inbox_older_than=timedelta(days=1)).dead == 0
    with pytest.raises(OutboxError, match="nothing stalls"):
        skip(pool, tables, "none")
    all_back(application)
    assert application.is_open()


def test_tables_are_made_through_the_applications_pool(application: Application) -> None:
    """All migrations in one transaction, on the application's connection; a second time there is nothing to do."""
    tables = Tables(prefix=f"mine_{time.monotonic_ns()}")
    assert len(pending_migrations(application.handed, tables)) == len(migrate(application.handed, tables))
    assert applied_versions(application.handed, tables)[-1] == LATEST
    assert migrate(application.handed, tables) == []
    all_back(application)


@pytest.mark.parametrize("name", list(APPLICATIONS))
def test_a_connection_goes_back_as_it_was_found(name: str, open_application: OpenApplication) -> None:
    """Autocommit, row factory, and whatever else our statements need otherwise; and in no transaction."""
    application = open_application(name)
    with application.raw() as raw:
        before = manners(raw)
        if isinstance(raw, psycopg.Connection):
            raw.row_factory, raw.prepare_threshold = psycopg.rows.dict_row, 7
            before = manners(raw)
        was = raw.info.backend_pid
    assert status(application.handed, Tables()).waiting.rows == 0
    all_back(application)
    with application.raw() as raw:
        same = raw.info.backend_pid == was
        assert raw.info.transaction_status == 0
        if same:
            assert manners(raw) == before


def test_a_connection_goes_back_after_any_error(application: Application) -> None:
    """An error in the middle of a transaction, of ours or of anybody: rolled back, given back once, of use to the next."""
    for kind in (ValueError, KeyboardInterrupt):
        with pytest.raises(kind):
            fail_in_a_transaction(application, kind)
        all_back(application)
    with contextlib.suppress(psycopg.Error), session(application.handed) as connection, connection.cursor() as cursor:
        cursor.execute(b"BEGIN")
        cursor.execute(b"SELECT 1 / 0")
    all_back(application)
    with application.raw() as raw:
        assert raw.info.transaction_status == 0
    with session(application.handed) as connection, connection.cursor() as cursor:
        assert cursor.execute(b"SELECT to_regclass('never_made')").fetchone() == (None,)


def test_a_connection_that_died_in_the_pool_is_not_lent(
    application: Application, observer: psycopg.Connection[Any]
) -> None:
    """The server ended it meanwhile: another one is taken in its place."""
    with application.raw() as raw:
        pid = raw.info.backend_pid
    observer.execute("SELECT pg_terminate_backend(%s, 30000)", [pid])
    assert status(application.handed, Tables()).waiting.rows == 0
    all_back(application)
    assert application.is_open()


def test_a_connection_that_breaks_while_it_is_lent_is_discarded(
    application: Application, observer: psycopg.Connection[Any]
) -> None:
    """The error is ours, and the pool has another connection for the next one."""
    with session(application.handed) as connection, connection.cursor() as cursor:
        row = cursor.execute(b"SELECT pg_backend_pid()").fetchone()
        assert row is not None
        observer.execute("SELECT pg_terminate_backend(%s, 30000)", [row[0]])
        with pytest.raises(psycopg.Error):
            cursor.execute(b"SELECT 1")
    all_back(application)
    assert status(application.handed, Tables()).waiting.rows == 0
    assert application.is_open()


@pytest.mark.parametrize("name", ["psycopg-pool", "psycopg-null-pool", "engine-psycopg", "engine-psycopg2"])
def test_waiting_for_the_pool_ends_by_our_deadline_and_names_its_state(
    name: str, open_application: OpenApplication
) -> None:
    """However long the pool itself would wait; who comes in vain takes nothing, then or later."""
    application = open_application(name)
    with application.raw():
        with pytest.raises(PoolTimeoutError, match="of 1 connections"), session(application.handed, timeout=0.2):
            raise AssertionError("nobody has a connection to lend")
        assert application.out() == 1
    all_back(application)
    assert application.is_open()


def test_djangos_own_pool_ends_the_wait_with_its_own_time(open_application: OpenApplication) -> None:
    """What its OPTIONS say counts where it is shorter than our deadline, and the error is ours."""
    application = open_application("django-pool")
    application.handed.close()
    application.handed.ensure_connection()
    application.handed.close()
    with application.raw(), pytest.raises(PoolTimeoutError, match="1 of 1 connections"):
        status(application.handed, Tables())
    all_back(application)


def test_waiting_for_djangos_own_pool_ends_by_our_deadline(open_application: OpenApplication) -> None:
    """However patient that pool is; afterwards Django asks it as before."""
    application = open_application("django-pool")
    application.handed.close()
    application.handed.ensure_connection()
    application.handed.close()
    pool = application.handed.pool
    pool.timeout = 3600.0
    for own in (False, True):
        with application.raw(), pytest.raises(PoolTimeoutError, match="1 of 1 connections"):
            lender_of(application.handed, "the outbox").take(time.monotonic() + 0.2, own=own)
    assert application.handed.pool is pool
    all_back(application)
    assert application.is_open()


@pytest.mark.parametrize("name", ["engine-psycopg", "engine-psycopg2", "django"])
def test_a_server_that_is_not_there_is_told_without_a_password(name: str, open_application: OpenApplication) -> None:
    """ConnectionFailedError, as with a URL."""
    application = open_application(name, "postgresql://someone:se-cr-et@127.0.0.1:1/none")
    with pytest.raises((ConnectionFailedError, PoolError)) as caught:
        status(application.handed, Tables())
    assert "se-cr-et" not in str(caught.value)


@pytest.mark.parametrize("name", ["psycopg-pool", "engine-psycopg2", "django"])
def test_the_tables_that_are_missing_are_told_as_with_a_url(
    name: str, open_application: OpenApplication, database: str
) -> None:
    """The driver's errors are understood, whichever it is."""
    application = open_application(name)
    with pytest.raises(OutboxError, match="rmqpool outbox migrate"):
        status(application.handed, Tables(prefix="nowhere"))
    all_back(application)


def test_what_is_no_pool_is_refused_with_what_would_be(database: str) -> None:
    """The error lists all kinds; a pool that is awaited is told from one that is unknown."""
    with pytest.raises(ConfigurationError, match=r"builtins\.int.*ConnectionPool.*Engine.*django"):
        status(17, Tables())
    with pytest.raises(ConfigurationError, match=r"blocks, and a sqlalchemy.*AsyncEngine is awaited"):
        status(sqlalchemy.ext.asyncio.create_async_engine(database.replace(":", "+psycopg:", 1)), Tables())
    with pytest.raises(ConfigurationError, match="is one to sqlite"):
        lender_of(sqlalchemy.create_engine("sqlite://"), "the outbox")


def test_a_lost_connection_is_told_as_with_a_url(
    open_application: OpenApplication, database: str, observer: psycopg.Connection[Any]
) -> None:
    """Through psycopg 2 as well."""
    application = open_application("engine-psycopg2")
    with session(application.handed) as connection, connection.cursor() as cursor:
        row = cursor.execute(b"SELECT pg_backend_pid()").fetchone()
        assert row is not None
        observer.execute("SELECT pg_terminate_backend(%s, 30000)", [row[0]])
        with pytest.raises(ConnectionLostError):
            status(connection, Tables())
    all_back(application)
