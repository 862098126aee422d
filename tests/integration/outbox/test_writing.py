"""What every library's connection promises: the row is there if, and only if, the caller's transaction commits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis
import psycopg
import pytest
import sqlalchemy
from django.db import transaction
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rmqpool.core.lanes import LANES, lane_of
from rmqpool.message import Message
from rmqpool.outbox import Outbox, Tables
from rmqpool.outbox.rows import Row, message_of
from rmqpool.outbox.statements import DOORBELL, lock_class
from rmqpool.preparation import prepare_message

Observer = psycopg.Connection[Any]
Client = Any  # of the conftest
OpenClient = Callable[[str], Client]

BODY = bytes(range(256))
ID = "7d3f0f7e-3c1a-4f43-9d39-0f9f5b0f8a11"
OPTIONS: dict[str, Any] = {
    "message_id": ID,
    "headers": {
        "text": "grün %s :p1 $1 {x}",
        "nul": "a\0b",
        "bytes": b"\0\xff",
        "decimal": Decimal("12.50"),
        "datetime": datetime(2024, 2, 29, 12, 0, 1, tzinfo=UTC),
        "number": 2**40,
        "truth": True,
        "nothing": None,
        "list": [1, "two", b"three", {"four": Decimal(4)}],
        "$bytes": "a name of ours",
        "table": {"$text": 1, "x": {"nul\0": 2}},
    },
    "priority": 7,
    "expiration": 90,
    "correlation_id": "correlation\0",
    "reply_to": "answers",
    "timestamp": datetime(2024, 1, 1, tzinfo=UTC),
    "type": "order.placed",
    "app_id": "shop",
    "content_type": "application/octet-stream",
    "persistent": False,
    "mandatory": False,
}


def rows(observer: Observer, table: str = Tables().outbox) -> list[Row]:
    """The rows that are committed, in order."""
    columns = "id, lane, key, exchange, routing_key, message_id::text, properties::text, headers::text, body"
    return [Row(*row) for row in observer.execute(f"SELECT {columns} FROM {table} ORDER BY id".encode())]


def fields(message: Message) -> dict[str, Any]:
    """All that a message is."""
    return {name: getattr(message, name) for name in Message.__slots__}


def test_a_committed_row_is_there_equal_column_for_column(client: Client, observer: Observer) -> None:
    """Every column holds what was given, every type of header comes back, and nothing is visible before the commit."""
    client.begin()
    assert client.publish_to("shop", "orders.new", BODY, key="customer-7", **OPTIONS) == ID
    assert rows(observer) == []
    client.commit()
    (row,) = rows(observer)
    assert row[:6] == (row.id, lane_of("customer-7"), "customer-7", "shop", "orders.new", ID)
    assert row.body == BODY
    assert json.loads(row.properties or "")["priority"] == 7
    assert json.loads(row.headers or "")["$table"]
    expected = prepare_message("shop", "orders.new", BODY, max_message_size=1 << 20, **OPTIONS)
    assert fields(message_of(row)) == fields(expected)


def test_a_message_of_few_words_leaves_columns_null(client: Client, observer: Observer) -> None:
    """Queue and body are enough: a UUID is made, the rest is NULL, and the time is the database's."""
    client.begin()
    message_id = client.publish("orders", {"id": 1})
    client.commit()
    (row,) = rows(observer)
    assert row == (row.id, row.lane, None, "", "orders", message_id, None, None, b'{"id":1}')
    assert 0 <= row.lane < LANES
    assert str(uuid.UUID(message_id)) == message_id
    age = observer.execute(b"SELECT clock_timestamp() - created_at FROM rmqpool_outbox").fetchall()
    assert timedelta(0) <= age[0][0] < timedelta(minutes=1)


def test_nothing_is_there_after_a_rollback(client: Client, observer: Observer) -> None:
    """What is rolled back was never written, and the connection is of use afterwards."""
    client.begin()
    client.publish("orders", 1)
    client.publish_many("orders", [2, 3])
    client.publish("orders", 4, delay=60)
    client.rollback()
    client.begin()
    client.publish("orders", 5)
    client.commit()
    assert [row.body for row in rows(observer)] == [b"5"]
    assert rows(observer, Tables().scheduled) == []


def test_nothing_is_there_of_a_savepoint_that_is_rolled_back(client: Client, observer: Observer) -> None:
    """What was written since the savepoint goes with it; the rest stays."""
    client.begin()
    client.publish("orders", 1)
    client.execute("SAVEPOINT halfway")
    client.publish("orders", 2)
    client.execute("ROLLBACK TO SAVEPOINT halfway")
    client.publish("orders", 3)
    client.commit()
    assert [row.body for row in rows(observer)] == [b"1", b"3"]


def test_many_rows_are_one_statement_in_order(client: Client, observer: Observer) -> None:
    """A thousand bodies are one INSERT; ids of rows, of messages, and the list that is returned have one order."""
    observer.execute(
        b"CREATE TABLE statements (n bigint); CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS "
        b"$$BEGIN INSERT INTO statements VALUES (1); RETURN NULL; END$$; CREATE TRIGGER counting AFTER INSERT "
        b"ON rmqpool_outbox FOR EACH STATEMENT EXECUTE FUNCTION count_statement()"
    )
    try:
        client.begin()
        ids = client.publish_many("orders", range(1000), key=lambda body: f"k{body % 9}", headers={"x": b"\0"})
        client.commit()
        assert observer.execute(b"SELECT count(*) FROM statements").fetchone() == (1,)
    finally:
        observer.execute(
            b"DROP TRIGGER counting ON rmqpool_outbox; DROP FUNCTION count_statement; DROP TABLE statements"
        )
    written = rows(observer)
    assert [row.message_id for row in written] == ids
    assert [row.body for row in written] == [str(number).encode() for number in range(1000)]
    assert [row.key for row in written] == [f"k{number % 9}" for number in range(1000)]
    assert {(row.lane, row.key) for row in written} == {(lane_of(f"k{number}"), f"k{number}") for number in range(9)}


def test_no_bodies_execute_nothing(client: Client, observer: Observer) -> None:
    """An empty list is no statement, and no error, even outside a transaction."""
    client.autocommit()
    assert client.publish_many("orders", []) == []
    assert rows(observer) == []


def test_rows_with_a_time_wait_in_the_scheduled_table(client: Client, observer: Observer) -> None:
    """``at`` is kept to the microsecond; ``delay`` counts from the database's clock."""
    at = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    client.begin()
    client.publish("orders", "at", at=at, key="k")
    client.publish("orders", "seconds", delay=90.5)
    client.publish("orders", "timedelta", delay=timedelta(hours=1))
    client.publish_many("orders", ["many", "more"], at=at)
    client.commit()
    assert rows(observer) == []
    written = rows(observer, Tables().scheduled)
    assert [row.body for row in written] == [b"at", b"seconds", b"timedelta", b"many", b"more"]
    assert written[0].lane == lane_of("k")
    due = observer.execute(b"SELECT due_at, due_at - created_at FROM rmqpool_scheduled ORDER BY id").fetchall()
    assert [due[0][0], due[3][0], due[4][0]] == [at, at, at]
    assert abs(due[1][1] - timedelta(seconds=90.5)) < timedelta(seconds=1)
    assert abs(due[2][1] - timedelta(hours=1)) < timedelta(seconds=1)


def test_odd_names_are_names(client: Client, observer: Observer, odd_tables: Tables) -> None:
    """Quotes, percent signs, colons, dollars, braces and backslashes in names mean nothing to any library."""
    client.begin()
    client.publish("o'r\"d%se:p1$1{x}\\", "%s :p1 $1", tables=odd_tables, key="%(p1)s")
    client.publish("orders", 2, tables=odd_tables, delay=1)
    client.commit()
    (row,) = rows(observer, odd_tables.outbox)
    assert (row.routing_key, row.body, row.key) == ("o'r\"d%se:p1$1{x}\\", b"%s :p1 $1", "%(p1)s")
    assert len(rows(observer, odd_tables.scheduled)) == 1


def test_the_bell_rings_with_the_commit_only(client: Client, observer: Observer, odd_tables: Tables) -> None:
    """Who listens hears of a commit, not of a statement, nor of a rollback; odd names ring their own bell."""
    for tables in (Tables(), odd_tables):
        with psycopg.connect(client.url, autocommit=True) as listener:
            listener.execute(f"LISTEN {tables.channel}".encode())

            def mark(payload: str, channel: str = tables.channel_name) -> None:
                observer.execute(b"SELECT pg_notify(%s, %s)", (channel, payload))

            client.begin()
            client.publish("orders", 1, tables=tables)
            mark("written")
            client.rollback()
            mark("rolled back")
            client.begin()
            client.publish("orders", 2, tables=tables)
            mark("written again")
            client.commit()
            mark("committed")
            heard = [notify.payload for notify in listener.notifies(timeout=5, stop_after=5)]
            assert heard == ["written", "rolled back", "written again", "", "committed"]


def test_the_bell_is_silent_while_a_relay_is_awake(client: Client, observer: Observer) -> None:
    """A session that holds the lock of the bell is not rung for, and no writer keeps the lock beyond its statement."""
    lock = f"{lock_class(Tables().outbox)}, {DOORBELL}"
    with psycopg.connect(client.url, autocommit=True) as relay:
        relay.execute(f"LISTEN {Tables().channel}".encode())
        relay.execute(f"SELECT pg_advisory_lock({lock})".encode())
        client.begin()
        client.publish("orders", 1)
        client.commit()
        relay.execute(f"SELECT pg_advisory_unlock({lock})".encode())
        client.begin()
        client.publish("orders", 2)
        assert relay.execute(f"SELECT pg_try_advisory_lock({lock})".encode()).fetchone() == (True,)
        relay.execute(b"SELECT pg_advisory_unlock_all()")
        held = b"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = " + (
            b"(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert observer.execute(held).fetchone() == (0,)
        client.commit()
        observer.execute(b"SELECT pg_notify(%s, 'end')", (Tables().channel_name,))
        heard = [notify.payload for notify in relay.notifies(timeout=5, stop_after=2)]
    assert heard == ["", "end"]
    assert len(rows(observer)) == 2


def test_no_doorbell_is_no_notify(open_client: OpenClient, observer: Observer) -> None:
    """``doorbell=False`` leaves the bell alone."""
    client = open_client("psycopg")
    observer.execute(f"LISTEN {Tables().channel}".encode())
    Outbox(doorbell=False).publish(client.handed, "orders", 1)
    client.commit()
    observer.execute(b"SELECT pg_notify(%s, 'end')", (Tables().channel_name,))
    assert [notify.payload for notify in observer.notifies(timeout=5, stop_after=1)] == ["end"]
    assert len(rows(observer)) == 1


class Base(DeclarativeBase):
    """The tests' own tables."""


class Order(Base):
    """An application's row."""

    __tablename__ = "orders_of_the_test"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


@pytest.mark.parametrize("autoflush", [True, False])
def test_a_session_is_flushed_first_unless_it_does_not_flush(
    open_client: OpenClient, observer: Observer, autoflush: bool
) -> None:
    """Pending objects are written before the message, as before a query; without autoflush, at the commit."""
    client = open_client("sqlalchemy-session-psycopg")
    observer.execute(b"CREATE TABLE orders_of_the_test (id integer PRIMARY KEY)")
    try:
        with Session(client.engine, autoflush=autoflush) as session, session.begin():
            session.add(Order(id=1))
            Outbox().publish(session, "orders", 1)
            assert session.execute(sqlalchemy.text("SELECT id FROM orders_of_the_test")).all() == [(1,)] * autoflush
        assert observer.execute(b"SELECT id FROM orders_of_the_test").fetchall() == [(1,)]
    finally:
        observer.execute(b"DROP TABLE orders_of_the_test")
    assert len(rows(observer)) == 1


@pytest.mark.parametrize("name", ["django", "django-proxy"])
def test_an_atomic_block_of_django_is_a_transaction(open_client: OpenClient, observer: Observer, name: str) -> None:
    """A block that ends commits; one that an error leaves rolls back, and so does a block within a block."""
    client = open_client(name)

    def fail(body: int) -> None:
        with transaction.atomic(using=client.alias):
            client.publish("orders", body)
            raise LookupError

    with transaction.atomic(using=client.alias):
        client.publish("orders", 1)
        with pytest.raises(LookupError):
            fail(2)
    with pytest.raises(LookupError):
        fail(3)
    assert [row.body for row in rows(observer)] == [b"1"]


def test_psycopg2_begins_a_transaction_for_a_block_in_autocommit(open_client: OpenClient, observer: Observer) -> None:
    """``with connection:`` is a transaction even in autocommit, before its first statement too."""
    client = open_client("psycopg2")
    client.autocommit()

    def fail() -> None:
        with client.handed:
            client.publish("orders", 1)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with client.handed:
        client.publish("orders", 2)
    assert [row.body for row in rows(observer)] == [b"2"]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("$text"), inner, max_size=3),
)


@pytest.mark.parametrize("name", ["psycopg", "psycopg2", "asyncpg"])
def test_what_is_read_back_is_what_publisher_makes(open_client: OpenClient, observer: Observer, name: str) -> None:
    """Through Postgres and back the message is the same, whatever its body, headers and properties hold."""
    client = open_client(name)

    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(
        st.binary(max_size=50) | TEXTS | st.dictionaries(TEXTS, st.integers()),
        st.dictionaries(TEXTS.filter(lambda text: text not in ("CC", "BCC")), VALUES, max_size=4),
        TEXTS,
        TEXTS,
    )
    def check(body: object, headers: dict[str, Any], kind: str, message_id: str) -> None:
        options: dict[str, Any] = {"headers": headers, "type": kind, "message_id": message_id}
        client.begin()
        client.publish("orders", body, **options)
        client.commit()
        expected = prepare_message("", "orders", body, max_message_size=1 << 20, **options)
        assert fields(message_of(rows(observer)[-1])) == fields(expected)
        observer.execute(b"DELETE FROM rmqpool_outbox")

    check()


def test_django_writes_through_psycopg2(database: str, observer: Observer) -> None:
    """Where psycopg 3 is not installed Django takes psycopg 2, and so does the outbox, in autocommit and in a block."""
    code = """
import os, sys
sys.modules["psycopg"] = None
from django.apps import apps
from django.conf import settings
from urllib.parse import urlsplit
url = urlsplit(os.environ["DATABASE"])
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:],
    "USER": url.username, "PASSWORD": url.password, "HOST": url.hostname, "PORT": url.port}})
apps.populate([])
from django.db import connection, transaction
from rmqpool.errors import NotInTransactionError, OutboxSchemaError
from rmqpool.outbox import Outbox, Tables
try:
    Outbox().publish(connection, "orders", 1)
except NotInTransactionError as error:
    assert "atomic" in str(error)
else:
    raise SystemExit("autocommit was not refused")
with transaction.atomic():
    Outbox().publish_many(connection, "orders", [b"\\0%s", "2"], headers={"x": b"%"})
try:
    with transaction.atomic():
        Outbox(Tables(prefix="absent")).publish(connection, "orders", 1)
except OutboxSchemaError:
    pass
try:
    with transaction.atomic():
        try:
            connection.cursor().execute("SELECT 1 / 0")
        except Exception:
            Outbox().publish(connection, "orders", 1)
except NotInTransactionError:
    print(type(connection.connection).__module__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DATABASE": database},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("psycopg2.extensions\n", 0), done.stderr
    assert [row.body for row in rows(observer)] == [b"\0%s", b"2"]
