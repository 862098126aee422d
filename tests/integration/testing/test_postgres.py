"""A private Postgres server does what a test tells it."""

import psycopg
import pytest

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.postgres import LocalPostgres, PostgresServer, StopMode


def test_a_started_server_answers(postgres: PostgresServer) -> None:
    """A started server runs SQL in its first database and in a new one."""
    assert postgres.psql("SELECT 1 + 1; SELECT 'two'") == "2\ntwo"
    assert postgres.create_database("another").endswith(f":{postgres.port}/another")
    assert postgres.psql("SELECT current_database()", database="another") == "another"


def test_errors_carry_the_servers_message(postgres: PostgresServer) -> None:
    """What the server refuses is an error with its message, and never with the password."""
    with pytest.raises(ServicesError, match='relation "nothing" does not exist') as caught:
        postgres.psql("SELECT * FROM nothing")
    assert postgres.password not in str(caught.value)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_committed_rows_survive_a_restart(postgres: PostgresServer, mode: StopMode) -> None:
    """What was committed is there after either kind of restart, on the same port."""
    url = postgres.url
    postgres.psql(f"CREATE TABLE kept_{mode} AS SELECT 7 AS value")
    postgres.restart(mode)
    assert postgres.url == url
    assert postgres.psql(f"SELECT value FROM kept_{mode}") == "7"


def test_committed_rows_survive_a_kill(postgres: PostgresServer) -> None:
    """What was committed is there after SIGKILL of every process of the server."""
    postgres.psql("CREATE TABLE kept_killed AS SELECT 7 AS value")
    postgres.kill()
    assert not postgres.is_running
    postgres.start()
    assert postgres.psql("SELECT value FROM kept_killed") == "7"


def test_a_paused_server_answers_nothing_and_then_goes_on(postgres: PostgresServer) -> None:
    """A paused server lets clients wait; resumed, it answers."""
    postgres.pause()
    with pytest.raises(ServicesError, match="longer than"):
        postgres.psql("SELECT 1", timeout=0.5)
    postgres.resume()
    assert postgres.psql("SELECT 1") == "1"


def test_other_sessions_are_ended(postgres: PostgresServer) -> None:
    """terminate_backends ends every session but its own."""
    with psycopg.connect(postgres.url) as connection:
        assert postgres.terminate_backends() >= 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_settings_are_taken() -> None:
    """Lines of postgresql.conf are the server's; a closed server leaves no folder."""
    with LocalPostgres("max_connections = 7") as server:
        assert server.psql("SHOW max_connections") == "7"
        folder = server.folder
    assert not folder.exists()
    with pytest.raises(ServicesError, match="is closed"):
        server.start()
