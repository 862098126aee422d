"""Migrations: from every version, twice at once, printed or applied, and nothing half-done."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
import sqlalchemy

from rmqpool.errors import OutboxError, OutboxSchemaError
from rmqpool.outbox import Outbox, Tables, migrations
from rmqpool.outbox.migrations import (
    LATEST,
    applied_versions,
    check_version,
    drop_sql,
    migrate,
    migration_sql,
    pending_migrations,
)
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until

DEFAULT = Tables()
ODD = Tables(schema='it\'s a "schema" % {x}', prefix="p\"r:e'f%i{x}\\")
# Columns with their defaults, constraints, indexes and storage parameters of all tables outside the catalogue.
CATALOGUE = """
SELECT n.nspname, c.relname, c.relkind::text, array_to_string(c.reloptions, ' '),
    coalesce((SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attidentity, pg_get_expr(d.adbin, d.adrelid)), E'\\n' ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0), ''),
    coalesce((SELECT string_agg(concat_ws(' ', o.conname, pg_get_constraintdef(o.oid)), E'\\n' ORDER BY o.conname)
        FROM pg_constraint o WHERE o.conrelid = c.oid), ''),
    CASE WHEN c.relkind = 'i' THEN pg_get_indexdef(c.oid) END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY 1, 2"""

Connect = Callable[[], psycopg.Connection[Any]]


@pytest.fixture
def connect(postgres_url: str) -> Iterator[Connect]:
    """Opens connections to the test's own database; they are closed at the end."""
    opened: list[psycopg.Connection[Any]] = []

    def open_one() -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(postgres_url, connect_timeout=10))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def catalogue(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Everything that the migrations may make."""
    rows = connection.execute(CATALOGUE).fetchall()
    connection.rollback()
    return rows


def with_one_more(monkeypatch: pytest.MonkeyPatch, sql: str) -> int:
    """A release with one migration more; returns its version."""
    files = migrations._files()
    monkeypatch.setattr(migrations, "_files", lambda: (*files, (LATEST + 1, "one_more", sql)))
    monkeypatch.setattr(migrations, "LATEST", LATEST + 1)
    return LATEST + 1


def outbox_of_an_earlier_release(tables: Tables) -> Outbox:
    """One that has seen the version that it knows."""
    outbox = Outbox(tables)
    outbox._writes.check_version(migrations.LATEST)
    return outbox


@pytest.mark.parametrize(
    "tables", [DEFAULT, Tables(schema="shop", prefix="events"), ODD], ids=["plain", "named", "odd"]
)
@pytest.mark.parametrize("version", range(1, LATEST))
def test_every_earlier_version_is_brought_up_to_date_and_keeps_its_rows(
    connect: Connect, tables: Tables, version: int
) -> None:
    """The rows that were there are there afterwards, and the schema is that of a fresh database."""
    connection = connect()
    assert [one.version for one in migrate(connection, tables, up_to=version)] == list(range(1, version + 1))
    with pytest.raises(OutboxSchemaError, match=f"version {version}, and this release works with version {LATEST}"):
        check_version(connection, tables)
    connection.rollback()
    with connection.transaction():
        bodies = [{"id": number} for number in range(10)]
        outbox_of_an_earlier_release(tables).publish_many(connection, "orders", bodies, key="k")
    assert [one.version for one in migrate(connection, tables)] == list(range(version + 1, LATEST + 1))
    check_version(connection, tables)
    found = connection.execute(f"SELECT count(*), count(DISTINCT message_id) FROM {tables.outbox}".encode()).fetchone()
    assert found == (10, 10)
    connection.rollback()
    stepwise = catalogue(connection)
    schema = "public" if tables.schema is None else tables.schema
    connection.execute(f"DROP SCHEMA {migrations.quote_identifier(schema)} CASCADE".encode())
    connection.execute(f"CREATE SCHEMA {migrations.quote_identifier(schema)}".encode())
    connection.commit()
    migrate(connection, tables)
    assert catalogue(connection) == stepwise


def test_what_is_up_to_date_stays_as_it_is(connect: Connect) -> None:
    """Nothing is applied a second time."""
    connection = connect()
    assert pending_migrations(connection, DEFAULT) == list(migrations.migrations(DEFAULT))
    connection.rollback()
    assert len(migrate(connection, DEFAULT)) == LATEST
    before = catalogue(connection)
    assert migrate(connection, DEFAULT) == []
    assert catalogue(connection) == before


@pytest.mark.parametrize("level", list(psycopg.IsolationLevel)[1:])
@pytest.mark.parametrize("tables", [DEFAULT, Tables(schema="shop")], ids=["plain", "schema"])
def test_of_two_at_once_one_applies_and_the_other_finds_nothing(
    connect: Connect, tables: Tables, level: psycopg.IsolationLevel
) -> None:
    """Whatever isolation level the connections have by default."""
    start, counts = threading.Barrier(4), []

    def run(connection: psycopg.Connection[Any]) -> None:
        start.wait(10)
        counts.append(len(migrate(connection, tables)))

    connections = [connect() for _ in range(4)]
    for connection in connections:
        connection.isolation_level = level
    threads = [threading.Thread(target=run, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(counts) == [0, 0, 0, LATEST]


@pytest.mark.parametrize("tables", [DEFAULT, Tables(schema="shop"), ODD], ids=["plain", "schema", "odd"])
def test_the_printed_sql_makes_the_same_schema(postgres: PostgresServer, tables: Tables) -> None:
    """By psql, in one go or in two, it is what migrate makes; and migrate finds nothing to do then."""
    made = {}
    for way in ("migrate", "psql", "steps"):
        url = postgres.create_database(f"sql_{way}_{abs(hash(tables))}")
        name = url.rpartition("/")[2]
        if way == "psql":
            postgres.psql(f"BEGIN; {migration_sql(tables)} COMMIT;", database=name)
        if way == "steps":
            postgres.psql(migration_sql(tables, up_to=2), database=name)
            postgres.psql(migration_sql(tables, after=2), database=name)
        with closing(psycopg.connect(url)) as connection:
            assert len(migrate(connection, tables)) == (LATEST if way == "migrate" else 0)
            check_version(connection, tables)
            made[way] = catalogue(connection)
    assert made["psql"] == made["migrate"]
    assert made["steps"] == made["migrate"]


def test_tables_of_a_newer_release_are_refused(connect: Connect) -> None:
    """An old program says which version it knows, and changes nothing."""
    connection = connect()
    migrate(connection, DEFAULT)
    connection.execute(f"INSERT INTO {DEFAULT.migrations} (version, name) VALUES (99, 'future')".encode())
    connection.commit()
    for look in (migrate, check_version, pending_migrations):
        with pytest.raises(OutboxSchemaError, match=f"version 99, .* knows version {LATEST}"):
            look(connection, DEFAULT)
        connection.rollback()


def test_tables_that_are_not_there_are_told_with_the_way_to_make_them(connect: Connect) -> None:
    """rmqpool outbox migrate."""
    with pytest.raises(OutboxSchemaError, match="rmqpool outbox migrate"):
        check_version(connect(), DEFAULT)


def test_outboxes_of_other_names_live_beside_each_other(connect: Connect) -> None:
    """Each has its own versions and indexes, in one schema or in several."""
    connection = connect()
    every = [DEFAULT, Tables(prefix="other"), Tables(schema="shop"), ODD]
    for tables in every:
        assert len(migrate(connection, tables)) == LATEST
    assert all(applied_versions(connection, tables) == list(range(1, LATEST + 1)) for tables in every)


def test_a_migration_that_fails_leaves_nothing(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the run is undone, what went well before it too."""
    version = with_one_more(monkeypatch, "ALTER TABLE {outbox} ADD COLUMN more text; SELECT 1 / 0;")
    connection = connect()
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(connection, Tables(schema="shop"), up_to=version)
    assert catalogue(connection) == []
    assert connection.execute("SELECT to_regnamespace('shop')").fetchone() == (None,)
    connection.rollback()
    migrate(connection, DEFAULT, up_to=LATEST)
    before = catalogue(connection)
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(connection, DEFAULT, up_to=version)
    assert catalogue(connection) == before
    assert applied_versions(connection, DEFAULT)[-1] == LATEST


def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to do, nothing is changed, and with the writer gone it goes on."""
    version = with_one_more(monkeypatch, "ALTER TABLE {outbox} ADD COLUMN more text;")
    connection, writer = connect(), connect()
    migrate(connection, DEFAULT, up_to=LATEST)
    outbox_of_an_earlier_release(DEFAULT).publish(writer, "orders", {"id": 1})
    with pytest.raises(OutboxError, match=r"nothing was migrated: .*rmqpool outbox doctor"):
        migrate(connection, DEFAULT, up_to=version, lock_timeout=0.2)
    writer.commit()
    assert [one.version for one in migrate(connection, DEFAULT, up_to=version)] == [version]
    assert connection.execute("SELECT count(*) FROM rmqpool_outbox").fetchone() == (1,)


def test_another_migration_that_hangs_is_not_waited_for_for_ever(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of the turn has a deadline too."""
    monkeypatch.setattr(migrations, "_TURN_TIMEOUT", 0.2)
    connection, other = connect(), connect()
    lock = f"SELECT pg_advisory_xact_lock(hashtextextended('rmqpool outbox migrate {DEFAULT.outbox}', 0))"
    other.execute(lock.encode())
    with pytest.raises(OutboxError, match="nothing was migrated"):
        migrate(connection, DEFAULT)
    other.rollback()
    assert len(migrate(connection, DEFAULT)) == LATEST


def test_a_connection_in_a_transaction_is_refused(connect: Connect) -> None:
    """Its commit would be somebody else's."""
    connection = connect()
    connection.execute("SELECT 1")
    with pytest.raises(OutboxError, match="in a transaction"):
        migrate(connection, DEFAULT)


@pytest.fixture
def role(connect: Connect) -> Iterator[str]:
    """The name of a role without any rights; gone afterwards, with its rights."""
    name, admin = f"reader_{uuid.uuid4().hex[:8]}", connect()
    admin.autocommit = True
    admin.execute(f"CREATE ROLE {name}".encode())
    yield name
    admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def act_as(connect: Connect, role: str) -> psycopg.Connection[Any]:
    """A connection that has the rights of ``role``."""
    connection = connect()
    connection.autocommit = True
    connection.execute(f"SET ROLE {role}".encode())
    return connection


def test_a_role_that_may_create_nothing_finds_an_outbox_that_is_up_to_date(connect: Connect, role: str) -> None:
    """Services may call migrate at every start; only changes need the right to make them."""
    owner, tables = connect(), Tables(schema="shop")
    migrate(owner, tables)
    owner.execute(f"GRANT USAGE ON SCHEMA shop TO {role}; GRANT SELECT ON {tables.migrations} TO {role}".encode())
    owner.commit()
    assert migrate(act_as(connect, role), tables) == []


def test_a_role_without_rights_is_told_what_to_grant(connect: Connect, role: str) -> None:
    """In words of ours, for whoever looks: to read the version, to make a schema, tables in it, or to change them."""
    owner, tables = connect(), Tables(schema="shop")
    connection = act_as(connect, role)
    with pytest.raises(OutboxSchemaError, match=f'GRANT CREATE ON DATABASE "[^"]+" TO "{role}"'):
        migrate(connection, tables)
    owner.execute(f"CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO {role}".encode())
    owner.commit()
    with pytest.raises(OutboxSchemaError, match=f'GRANT CREATE ON SCHEMA "shop" TO "{role}"'):
        migrate(connection, tables)
    migrate(owner, tables, up_to=LATEST - 1)
    for look in (migrate, check_version, pending_migrations):
        with pytest.raises(OutboxSchemaError, match=f"GRANT SELECT ON {tables.migrations} TO"):
            look(connection, tables)
    owner.execute(f"GRANT SELECT ON {tables.migrations} TO {role}".encode())
    owner.commit()
    with pytest.raises(OutboxSchemaError, match=f"run it as their owner: '{owner.info.user}'"):
        migrate(connection, tables)


def test_the_sql_has_nothing_that_a_library_reads_as_a_placeholder() -> None:
    """It goes through op.execute of Alembic, RunSQL of Django, and cursors with or without parameters."""
    sql = migration_sql(DEFAULT) + drop_sql(DEFAULT)
    assert "%" not in sql
    assert not sqlalchemy.text(sql)._bindparams


def test_what_undoes_the_first_migration_leaves_nothing(connect: Connect) -> None:
    """For the way back in Alembic and Django; the schema stays."""
    connection = connect()
    before = catalogue(connection)
    for tables in (DEFAULT, Tables(prefix='o"dd %')):
        migrate(connection, tables)
        connection.execute(drop_sql(tables).encode())
        connection.commit()
    assert catalogue(connection) == before


def test_a_killed_migration_leaves_nothing(
    connect: Connect, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that ends in the middle is as if it had never begun."""
    version = with_one_more(monkeypatch, "SELECT pg_sleep(60);")
    connection, watcher = connect(), connect()
    watcher.autocommit = True
    errors: list[BaseException] = []

    def run() -> None:
        try:
            migrate(connection, DEFAULT, up_to=version)
        except psycopg.Error as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
    wait_until(
        lambda: watcher.execute(kill.encode()).fetchone() == (1,), "the migration to be in its middle", timeout=10
    )
    thread.join(10)
    assert len(errors) == 1
    assert catalogue(watcher) == []
