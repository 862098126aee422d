"""A relay on the application's own pool: it keeps connections for long, and gives them back as they were."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy

from rmqpool.errors import ConfigurationError, OutboxSchemaError
from rmqpool.outbox import Relay, Tables, relay_connection
from rmqpool.outbox.adapters import lender_of
from rmqpool.outbox.adapters.long_loan import LongLender
from rmqpool.outbox.preflight import check_start
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.testing.pgbouncer import PgBouncer
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.lenders import APPLICATIONS, Application
from tests.integration.outbox.relay_bench import Bench

Open = Callable[..., Application]
KINDS = ("psycopg-pool-in-autocommit", "engine-psycopg", "django-pool")


@pytest.fixture
def open_application(bench: Bench) -> Iterator[Open]:
    opened: list[Application] = []

    def open_one(name: str, size: int = 3) -> Application:
        opened.append(APPLICATIONS[name](bench.database, size=size))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def state_of(raw: Any) -> tuple[Any, ...]:
    """All that a relay sets, and must put back."""
    with psycopg.Cursor(raw, row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute(
            "SELECT ARRAY(SELECT pg_listening_channels()),"
            " (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),"
            " current_setting('synchronous_commit'), current_setting('lock_timeout'), current_setting('statement_timeout'),"
            " current_setting('application_name'), current_setting('client_encoding')"
        )
        found = cursor.fetchone()
    raw.rollback()
    return (found, raw.autocommit, raw.row_factory, raw.cursor_factory, raw.prepare_threshold, raw._notify_handlers)


def states(application: Application, count: int) -> list[tuple[Any, ...]]:
    """Of all connections of its pool."""
    if not count:
        return []
    with application.raw() as raw:
        return [state_of(raw), *states(application, count - 1)]


@pytest.mark.parametrize("name", KINDS)
def test_a_relay_works_on_the_applications_pool_and_leaves_it_as_it_was(
    name: str, bench: Bench, open_application: Open
) -> None:
    """Messages arrive; after the stop every connection is back, without LISTEN, locks, settings and handlers of ours."""
    application = open_application(name)
    count = 1 if name == "django" else 3
    before = states(application, count)
    with Relay(bench.amqp, application.handed) as relay:
        bench.write({"id": 1}, {"id": 2})
        assert sorted(one["id"] for one in bench.bodies(2)) == [1, 2]
        bench.wait_empty()
        if name != "django":
            wait_until(lambda: application.out() == 3, "the relay's three connections", timeout=30)
        assert relay.stats().trouble == ""
    wait_until(lambda: application.out() == 0, "all connections to be back", timeout=30)
    assert sorted(map(repr, states(application, count))) == sorted(map(repr, before))
    held = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rmqpool-relay%'"
    wait_until(lambda: bench.connection.execute(held).fetchone() == (0,), "no session of a relay", timeout=30)
    assert application.is_open()


def test_a_relay_goes_on_after_its_borrowed_connections_were_cut(bench: Bench, open_application: Open) -> None:
    """They are discarded, and others are taken; nothing is lost."""
    application = open_application("engine-psycopg")
    with Relay(bench.amqp, application.handed):
        bench.write({"id": 1})
        bench.bodies(1)
        bench.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'rmqpool-relay%'"
        )
        bench.write({"id": 2})
        wait_until(lambda: 2 in [one["id"] for one in bench.bodies(1)], "the second message", timeout=60)
        bench.wait_empty()
    assert application.out() == 0
    assert application.is_open()


def test_a_relay_that_gets_no_connection_says_why_and_works_when_it_does(
    bench: Bench, open_application: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool's state is in its trouble; what the application gives back later is enough."""
    monkeypatch.setattr(relay_connection, "_CONNECT_TIMEOUT", 0.5)
    application = open_application("psycopg-pool")
    taken = [application.handed.getconn(30.0) for _ in range(3)]
    with Relay(bench.amqp, application.handed) as relay:
        wait_until(lambda: "3 of 3 connections" in relay.stats().trouble, "the trouble to be told", timeout=60)
        for one in taken:
            application.handed.putconn(one)
        bench.write({"id": 1})
        assert bench.bodies(1, timeout=60) == [{"id": 1}]
    wait_until(lambda: application.out() == 0, "all connections to be back", timeout=30)


def test_an_application_that_listens_itself_goes_on_to_listen(bench: Bench, open_application: Open) -> None:
    """A relay's LISTEN ends with it, the application's own does not."""
    application = open_application("psycopg-pool")
    with application.raw() as raw:
        raw.execute("LISTEN mine")
        raw.commit()
    with Relay(bench.amqp, application.handed):
        wait_until(lambda: application.out() == 3, "the relay's three connections", timeout=30)
    wait_until(lambda: application.out() == 0, "all connections to be back", timeout=30)
    heard = [found[0][0] for found in states(application, 3)]
    assert sorted(heard) == [[], [], ["mine"]]


def test_behind_pgbouncer_nothing_of_the_session_is_touched(bench: Bench, pgbouncer: PgBouncer) -> None:
    """Two connections of a pool that goes through it: messages arrive, and both go back."""
    application = APPLICATIONS["psycopg-pool"](pgbouncer.database_url(bench.database.rpartition("/")[2]), size=2)
    with Relay(bench.amqp, application.handed, pgbouncer=True):
        bench.write({"id": 1})
        assert bench.bodies(1, timeout=60) == [{"id": 1}]
        bench.wait_empty()
        names = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rmqpool-relay%'"
        assert bench.connection.execute(names).fetchone() == (0,)
    wait_until(lambda: application.out() == 0, "both connections to be back", timeout=60)
    application.close()


def test_what_went_back_is_neither_closed_nor_cut(bench: Bench, open_application: Open) -> None:
    """A second close, and an abort that comes too late, meet nothing: the connection is the application's again."""
    application = open_application("psycopg-pool")
    connection = RelayConnection(LongLender(lender_of(application.handed, "a relay")), "late", autocommit=True)
    connection.close()
    connection.close()
    connection.abort()
    with application.raw() as raw:
        assert raw is connection.raw
        assert raw.execute("SELECT 1").fetchone() == (1,)


def test_what_cannot_serve_a_relay_is_refused_at_once(bench: Bench, open_application: Open) -> None:
    """psycopg 2, a pool that is too small, one that is awaited: ConfigurationError that says what to do."""
    with pytest.raises(ConfigurationError, match=r"psycopg 3.*give it a URL"):
        Relay(bench.amqp, open_application("engine-psycopg2").handed)
    with pytest.raises(ConfigurationError, match=r"keeps 3 connections.* has 2 at most"):
        Relay(bench.amqp, open_application("psycopg-pool", size=2).handed)
    Relay(bench.amqp, open_application("engine-psycopg", size=2).handed, doorbell=False)
    address = bench.database.replace("postgresql:", "postgresql+asyncpg:")
    with pytest.raises(ConfigurationError, match=r"a relay blocks.*is awaited"):
        Relay(bench.amqp, sqlalchemy.ext.asyncio.create_async_engine(address))


def test_a_start_is_checked_through_the_applications_pool(bench: Bench, open_application: Open) -> None:
    """Missing tables are told before a relay waits for them."""
    application = open_application("engine-psycopg")
    check_start(application.handed, Tables())
    with pytest.raises(OutboxSchemaError):
        check_start(application.handed, Tables(prefix=f"none_{uuid.uuid4().hex[:8]}"))
    assert application.out() == 0
