"""A private PgBouncer stands in front of a private Postgres, in transaction mode, and leaves nothing behind."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.pgbouncer import PgBouncer
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until


def backend(connection: psycopg.Connection[tuple[int]]) -> int:
    """The process of the server that runs this transaction."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def test_every_database_of_the_server_can_be_reached(pgbouncer: PgBouncer, postgres: PostgresServer) -> None:
    """The first one, and one that was created later."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    with psycopg.connect(pgbouncer.database_url(name)) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (name,)
    with psycopg.connect(pgbouncer.url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (postgres.database,)


def test_clients_share_server_connections(pgbouncer: PgBouncer) -> None:
    """Transaction mode: more clients than server connections, each served when it has a transaction."""
    clients = [psycopg.connect(pgbouncer.url, prepare_threshold=None) for _ in range(10)]
    try:
        backends = set()
        for client in clients:
            backends.add(backend(client))
            client.commit()
        assert len(backends) < len(clients)
    finally:
        for client in clients:
            client.close()


def test_a_wrong_password_is_refused(pgbouncer: PgBouncer) -> None:
    """By PgBouncer itself, as Postgres would."""
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(pgbouncer.url.replace("@", "wrong@", 1))


def test_it_is_there_again_after_a_kill_and_after_a_stop(pgbouncer: PgBouncer) -> None:
    """On the same port."""
    port = pgbouncer.port
    for end in (pgbouncer.kill, pgbouncer.stop):
        end()
        assert not pgbouncer.is_running
        pgbouncer.start()
        assert pgbouncer.port == port
        with psycopg.connect(pgbouncer.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_it_survives_a_restart_of_the_server(pgbouncer: PgBouncer, postgres: PostgresServer) -> None:
    """New clients get new server connections."""
    with psycopg.connect(pgbouncer.url) as connection:
        connection.execute("SELECT 1")
    postgres.restart("immediate")

    def answers() -> bool:
        try:
            with psycopg.connect(pgbouncer.url) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    wait_until(answers, "PgBouncer to reach the server again", timeout=10)


def test_a_closed_one_leaves_no_folder(postgres: PostgresServer) -> None:
    """Settings are taken; the passwords are gone with the folder; it cannot be started again."""
    with PgBouncer(postgres, {"pool_mode": "session"}) as bouncer:
        assert (bouncer.folder / "users.txt").stat().st_mode & 0o077 == 0
        with psycopg.connect(bouncer.url, autocommit=True) as connection:
            connection.execute("SET application_name = 'kept'")
            assert connection.execute("SHOW application_name").fetchone() == ("kept",)
    assert not bouncer.folder.exists()
    bouncer.close()
    with pytest.raises(ServicesError, match="is closed"):
        bouncer.start()


def test_a_setting_that_it_does_not_take_is_told_with_its_words(postgres: PostgresServer) -> None:
    """Not a wait in vain."""
    bouncer = PgBouncer(postgres, {"auth_type": "nonsense"})
    try:
        with pytest.raises(ServicesError, match=r"(?s)ended while it started.*auth_type"):
            bouncer.start()
    finally:
        bouncer.close()
