"""A Postgres with a streaming replica, made by pg_basebackup; both may be stopped, killed and healed."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from rmqpool.outbox import Tables
from rmqpool.outbox.migrations import migrate
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.postgres import LocalPostgres
from rmqpool.testing.processes import run_command
from rmqpool.testing.waiting import wait_until


class Replica(LocalPostgres):
    """Follows ``primary``, which runs."""

    def __init__(self, primary: LocalPostgres) -> None:
        super().__init__()
        self._primary = primary
        self.password = primary.password
        self._environment["PGPASSWORD"] = primary.password

    def _make_cluster(self) -> None:
        data, source = self.folder / "data", self._primary
        command = [
            str(self._binaries / "pg_basebackup"),
            "-D",
            str(data),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ]
        where = ["-h", source.host, "-p", str(source.port), "-U", source.user]
        run_command(command + where, environment=self._environment, timeout=60, user=self._user, cwd=self.folder)
        with open(data / "postgresql.conf", "a") as file:
            file.write(f"port = {self.port}\nunix_socket_directories = '{self.folder}'\n")


class Pair:
    """A primary and its replica, with an outbox."""

    def __init__(self, primary: LocalPostgres, replica: Replica) -> None:
        self.primary, self.replica = primary, replica

    def heal(self) -> None:
        """Both run, and the replica has all that the primary has."""
        self.primary.heal()
        self.replica.heal()
        self.replica.psql("SELECT pg_wal_replay_resume()")
        self.primary.psql("TRUNCATE rmqpool_outbox, rmqpool_dead, rmqpool_stalled, rmqpool_held")
        self.catch_up()

    def catch_up(self) -> None:
        """Wait until the replica has replayed all that there is."""
        there = self.primary.psql("SELECT pg_current_wal_flush_lsn()")
        replayed = f"SELECT pg_last_wal_replay_lsn() >= '{there}' AND EXISTS (SELECT FROM pg_stat_wal_receiver)"
        wait_until(lambda: self.replica.psql(replayed) == "t", "the replica to catch up", timeout=60)

    def pause_replay(self) -> None:
        """The replica receives, and replays nothing."""
        self.replica.psql("SELECT pg_wal_replay_pause()")
        paused = "SELECT pg_get_wal_replay_pause_state()"
        wait_until(lambda: self.replica.psql(paused) == "paused", "the replay to be paused", timeout=60)


@pytest.fixture(scope="session")
def _private_pair() -> Iterator[Pair]:
    try:
        primary = LocalPostgres()
    except ServicesError as error:
        pytest.skip(f"a replica needs Postgres' own programs on this machine: {error}")
    try:
        primary.start()
        with psycopg.connect(primary.url) as connection:
            migrate(connection, Tables())
        replica = Replica(primary)
        try:
            replica.start()
            yield Pair(primary, replica)
        finally:
            replica.close()
    finally:
        primary.close()


@pytest.fixture
def replicated(_private_pair: Pair) -> Pair:
    """A primary and a replica, which the test may break; they are healed before each test."""
    _private_pair.heal()
    return _private_pair
