"""What cannot be part of the caller's transaction is refused with the reason; what is the caller's own passes through."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy
from django.db import transaction
from sqlalchemy.orm import Session

from rmqpool.errors import (
    MessageError,
    NotInTransactionError,
    OutboxSchemaError,
    RmqpoolError,
    UnsupportedConnectionError,
)
from rmqpool.outbox import Outbox, Tables
from rmqpool.outbox.migrations import LATEST, migrate
from rmqpool.outbox.refusals import command

Observer = psycopg.Connection[Any]
Client = Any  # of the conftest
OpenClient = Callable[[str], Client]
WRITE_BODY = "secret-of-the-body"


def count(observer: Observer) -> int:
    """How many rows are committed."""
    row = observer.execute(
        b"SELECT (SELECT count(*) FROM rmqpool_outbox) + (SELECT count(*) FROM rmqpool_scheduled)"
    ).fetchone()
    assert row is not None
    return int(row[0])


def sqlstate_of(error: BaseException) -> str | None:
    """The server's code in a library's error, or in the one that it wraps."""
    for one in (error, getattr(error, "orig", None), error.__cause__):
        code = getattr(one, "sqlstate", None) or getattr(one, "pgcode", None)
        if code is not None:
            return str(code)
    return None


def test_autocommit_is_refused(client: Client, observer: Observer) -> None:
    """Where each statement commits itself nothing is written, and the error names a way out."""
    client.autocommit()
    for method, body in (("publish", 1), ("publish_many", [1, 2])):
        with pytest.raises(NotInTransactionError, match=r"nothing was written.*autocommit.*fails\. \w+"):
            client.write(None, method, "orders", body)
    assert count(observer) == 0


def test_a_failed_transaction_is_refused(client: Client, observer: Observer) -> None:
    """After an error the transaction can only be rolled back: said as such, and true afterwards."""
    client.begin()
    client.publish("orders", 1)
    with pytest.raises(Exception) as failed:
        client.execute("SELECT 1 / 0")
    assert sqlstate_of(failed.value) == "22012"
    with pytest.raises(NotInTransactionError, match="can only be rolled back"):
        client.publish("orders", 2)
    client.rollback()
    client.begin()
    client.publish("orders", 3)
    client.commit()
    assert count(observer) == 1


@pytest.mark.parametrize("tables", [Tables(prefix="absent"), Tables(schema="absent"), Tables(schema="absent%:$1")])
def test_tables_that_are_not_there_are_named(client: Client, tables: Tables) -> None:
    """A missing table or schema is named, with the command that makes it as these names want it; the body is not told."""
    client.begin()
    with pytest.raises(OutboxSchemaError, match=r"absent") as refused:
        client.publish("orders", WRITE_BODY, tables=tables)
    assert command(tables) in str(refused.value)
    assert "absent" in command(tables)
    assert WRITE_BODY not in str(refused.value)
    client.rollback()


def test_an_older_schema_is_named_before_anything_is_written(client: Client, observer: Observer) -> None:
    """Both versions are told, and the command; the transaction is whole, and can go on without the outbox."""
    older = Tables(prefix="older")
    migrate(observer, older, up_to=3)
    client.begin()
    for method, body in (("publish", 1), ("publish_many", [1, 2])):
        with pytest.raises(OutboxSchemaError, match=rf"older_outbox.* version 3,.* {LATEST};.*--prefix older"):
            client.write(older, method, "orders", body)
    client.execute("CREATE TABLE IF NOT EXISTS went_on ()")
    client.commit()
    assert observer.execute(b"SELECT count(*) FROM older_outbox").fetchone() == (0,)


def test_a_newer_schema_is_written_to(client: Client, observer: Observer) -> None:
    """While a new release is rolled out the tables are migrated first, and services of this one may start again."""
    newer = Tables(prefix=f"newer{uuid.uuid4().hex[:8]}")
    migrate(observer, newer)
    observer.execute(f"INSERT INTO {newer.migrations} (version, name) VALUES (99, 'later')".encode())
    client.begin()
    client.publish("orders", 1, tables=newer)
    client.rollback()


def test_the_version_is_read_once(open_client: OpenClient, observer: Observer) -> None:
    """With the first message of an Outbox; afterwards a message is one statement."""
    client = open_client("psycopg")
    outbox = Outbox()
    for _ in range(3):
        outbox.publish(client.handed, "orders", 1)
    client.commit()
    observer.execute(b"ALTER TABLE rmqpool_migrations RENAME TO hidden_migrations")
    try:
        outbox.publish(client.handed, "orders", 1)
        client.commit()
    finally:
        observer.execute(b"ALTER TABLE hidden_migrations RENAME TO rmqpool_migrations")


def test_a_table_of_another_shape_is_named(client: Client, observer: Observer) -> None:
    """A table without one of our columns is of another version: the column is named."""
    strange = Tables(prefix="strange")
    migrate(observer, strange)
    observer.execute(b"ALTER TABLE strange_outbox DROP COLUMN IF EXISTS lane")
    client.begin()
    with pytest.raises(OutboxSchemaError, match=r"column.*rmqpool outbox migrate --prefix strange.*lane"):
        client.publish("orders", 1, tables=strange)
    client.rollback()


def test_a_role_without_rights_is_told_which(client: Client, observer: Observer) -> None:
    """A role that may not INSERT, or may not read the version, learns what to grant, and to whom."""
    observer.execute(b"DO $$BEGIN CREATE ROLE rmqpool_test_reader; EXCEPTION WHEN duplicate_object THEN NULL; END$$")
    user = psycopg.conninfo.conninfo_to_dict(client.url)["user"]
    for granted in ("REVOKE ALL ON rmqpool_migrations FROM", "GRANT SELECT ON rmqpool_migrations TO"):
        observer.execute(f"{granted} rmqpool_test_reader".encode())
        client.begin()
        client.execute("SET LOCAL ROLE rmqpool_test_reader")
        with pytest.raises(OutboxSchemaError) as refused:
            client.publish("orders", 1)
        client.rollback()
        for part in ('GRANT INSERT ON "rmqpool_outbox", "rmqpool_scheduled" TO', f'TO "{user}"', "SET ROLE"):
            assert part in str(refused.value)
    assert count(observer) == 0


def test_a_read_only_transaction_is_named(client: Client, observer: Observer) -> None:
    """A standby, or a transaction that may only read, is said to be one."""
    client.begin()
    client.execute("SET TRANSACTION READ ONLY")
    with pytest.raises(OutboxSchemaError, match=r"read-only"):
        client.publish("orders", 1)
    client.rollback()
    assert count(observer) == 0


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_errors_of_the_transaction_pass_through(client: Client, observer: Observer, code: str) -> None:
    """A serialization failure or a deadlock stays the library's own error: the application's retry goes by it."""
    observer.execute(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END$$; "
        f"CREATE TRIGGER refusing BEFORE INSERT ON rmqpool_outbox EXECUTE FUNCTION refuse()".encode()
    )
    try:
        client.begin()
        with pytest.raises(Exception) as failed:
            client.publish("orders", 1)
        client.rollback()
    finally:
        observer.execute(b"DROP TRIGGER refusing ON rmqpool_outbox; DROP FUNCTION refuse")
    assert not isinstance(failed.value, RmqpoolError)
    assert sqlstate_of(failed.value) == code


def test_a_message_that_cannot_be_sent_leaves_the_transaction_whole(client: Client, observer: Observer) -> None:
    """What is wrong with a message is found before anything is executed: the transaction goes on."""
    client.begin()
    client.publish("orders", 1)
    with pytest.raises(MessageError):
        client.publish("orders", object())
    with pytest.raises(MessageError):
        client.publish_many("orders", [2, object()])
    with pytest.raises(MessageError):
        client.publish("orders", 3, key="k" * 256)
    client.commit()
    assert count(observer) == 1


def test_a_lost_connection_is_the_librarys_own_error(client: Client, observer: Observer) -> None:
    """A connection that the server ended is not said to be in autocommit, or anything else that it is not."""
    client.begin()
    client.execute("SELECT 1")
    observer.execute(
        b"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        b"WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    with pytest.raises(Exception) as failed:
        client.publish("orders", 1)
    assert not isinstance(failed.value, RmqpoolError)
    assert count(observer) == 0


def test_an_execution_option_of_autocommit_is_refused(open_client: OpenClient, observer: Observer) -> None:
    """AUTOCOMMIT of one connection or one session is seen as well as that of an engine."""
    client = open_client("sqlalchemy-connection-psycopg")
    client.handed.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(NotInTransactionError, match="AUTOCOMMIT"):
        client.publish("orders", 1)
    engine = client.engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(engine) as session, pytest.raises(NotInTransactionError, match="AUTOCOMMIT"):
        Outbox().publish(session, "orders", 1)
    assert count(observer) == 0


def test_a_session_whose_flush_failed_is_refused(open_client: OpenClient, observer: Observer) -> None:
    """After a failed flush the session wants a rollback: said so."""
    client = open_client("sqlalchemy-session-psycopg")
    session = client.handed
    with pytest.raises(sqlalchemy.exc.ProgrammingError):
        client.execute("SELECT * FROM not_there")
    with pytest.raises(NotInTransactionError, match="can only be rolled back"):
        client.publish("orders", 1)
    session.rollback()
    client.publish("orders", 2)
    session.commit()
    assert count(observer) == 1


def test_a_block_of_django_that_must_roll_back_is_refused(open_client: OpenClient, observer: Observer) -> None:
    """An atomic block that is marked for rollback takes no message."""
    client = open_client("django")
    with transaction.atomic(using=client.alias):
        transaction.set_rollback(True, using=client.alias)
        with pytest.raises(NotInTransactionError, match="can only be rolled back"):
            client.publish("orders", 1)
    with pytest.raises(NotInTransactionError, match=r"transaction\.atomic\(\)"):
        client.publish("orders", 2)
    assert count(observer) == 0


def test_another_database_is_refused() -> None:
    """SQLite has no outbox: said before anything is executed."""
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(UnsupportedConnectionError, match="sqlite"):
        Outbox().publish(connection, "orders", 1)
    engine.dispose()
