"""AsyncInspector finds what Inspector finds, through every kind of connection that is awaited."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import psycopg_pool
import pytest

from rmqpool.errors import OutboxSchemaError, PoolTimeoutError
from rmqpool.outbox import AsyncInspector, AsyncOutboxPool, Inspector, Looked, Outbox, Tables
from rmqpool.outbox.inspection import Status
from rmqpool.outbox.migrations import migrate
from rmqpool.outbox.rights import version_grants
from rmqpool.testing.passwords import new_password
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.lenders import ASYNC_APPLICATIONS, AsyncApplication

ODD = Tables(schema="it's 100%", prefix='p"%s{x}$1')


class PsycopgPool(AsyncApplication):
    async def aopen(self, size: int) -> None:
        self.handed = psycopg_pool.AsyncConnectionPool(self.url, min_size=0, max_size=size, open=False)
        await self.handed.open()

    def out(self) -> int:
        figures = self.handed.get_stats()
        return int(figures["pool_size"] - figures["pool_available"])


class OwnPool(AsyncApplication):
    async def aopen(self, size: int) -> None:
        self.handed = AsyncOutboxPool(self.url, min_size=0, max_size=size)

    def out(self) -> int:
        return int(self.handed.stats().leased)


class Connection(AsyncApplication):
    async def aopen(self, size: int) -> None:
        self.handed = await psycopg.AsyncConnection.connect(self.url, autocommit=True)

    def out(self) -> int:
        return 0


class Url(AsyncApplication):
    async def aopen(self, size: int) -> None:
        self.handed = self.url

    async def aclose(self) -> None: ...

    def out(self) -> int:
        return 0


KINDS = {**ASYNC_APPLICATIONS, "psycopg-pool": PsycopgPool, "own": OwnPool, "connection": Connection, "url": Url}


@pytest.fixture
def open_kind(database: str) -> Iterator[Callable[[str], AsyncApplication]]:
    """Opens one of a kind, with one connection; all are closed at the end."""
    opened: list[AsyncApplication] = []

    def open_one(name: str) -> AsyncApplication:
        opened.append(KINDS[name](database))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def without_ages(looked: Looked[Status]) -> tuple[Any, ...]:
    """What does not change by itself."""
    found = looked.found
    lanes = [(one.lane, one.waiting) for one in found.lanes]
    return looked.source, found.waiting, lanes, found.held, found.stalled, found.dead, found.scheduled, found.relays


@pytest.mark.parametrize("name", list(KINDS))
def test_every_kind_finds_what_the_blocking_one_finds(
    name: str, open_kind: Callable[[str], AsyncApplication], database: str
) -> None:
    """Rows, a stalled key, a dead row, health; tables with odd names too. The connection is back afterwards."""
    kind = open_kind(name)
    with psycopg.connect(database, autocommit=True) as connection:
        migrate(connection, ODD)
        for table in ("outbox", "stalled", "dead"):
            connection.execute(f"DELETE FROM {getattr(ODD, table)}".encode())
        connection.execute(
            f"INSERT INTO {ODD.stalled} (stall, lane, attempts, next_at, reason, error, since)"
            " VALUES ('key:a', 3, 2, clock_timestamp(), 'returned', 'no queue', clock_timestamp())".encode()
        )
        with connection.transaction():
            Outbox(ODD).publish_many(connection, "orders", [{"id": 1}, {"id": 2}], key="a")
    awaited, blocking = AsyncInspector(kind.handed, tables=ODD), Inspector(database, tables=ODD)
    run = kind.runner.run
    assert without_ages(run(awaited.status())) == without_ages(blocking.status())
    assert run(awaited.status()).found.waiting.rows == 2
    (stalled,) = run(awaited.stalled_keys()).found
    assert (stalled.stall, stalled.attempts, stalled.error) == ("key:a", 2, "no queue")
    assert run(awaited.dead_rows()).found == blocking.dead_rows().found
    healthy, expected = run(awaited.health()), blocking.health()
    assert [one.name for one in healthy.tables] == [one.name for one in expected.tables]
    assert (healthy.server, healthy.sequence, healthy.role) == (expected.server, expected.sequence, expected.role)
    with pytest.raises(OutboxSchemaError, match="rmqpool outbox migrate"):
        run(AsyncInspector(kind.handed, tables=Tables(prefix="nowhere")).status())
    wait_until(lambda: kind.out() == 0, "the connection to be back", timeout=60)
    assert run(awaited.status()).found.waiting.rows == 2


@pytest.fixture
def poor_url(database: str) -> Iterator[str]:
    """The URL of a role that may do nothing; it is gone afterwards."""
    role, password = f"poor_{uuid.uuid4().hex[:8]}", new_password()
    given = psycopg.conninfo.conninfo_to_dict(database)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'".encode())
        yield f"postgresql://{role}:{password}@{given['host']}:{given['port']}/{given['dbname']}"
        admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.parametrize("name", ["asyncpg-pool", "async-engine-asyncpg", "psycopg-pool", "url"])
def test_a_role_that_may_not_look_is_told_what_it_lacks(name: str, poor_url: str, database: str) -> None:
    """The grants, as with a connection that blocks: of the version, and of the tables."""
    kind, role = KINDS[name](poor_url), str(psycopg.conninfo.conninfo_to_dict(poor_url)["user"])
    with psycopg.connect(database, autocommit=True) as admin:
        try:
            with pytest.raises(OutboxSchemaError, match=r"cannot be read by this role; .*GRANT SELECT ON"):
                kind.runner.run(AsyncInspector(kind.handed).dead_rows())
            for grant in version_grants(Tables(), role):
                admin.execute(grant.encode())
            with pytest.raises(OutboxSchemaError, match=rf"GRANT SELECT, INSERT, UPDATE, DELETE ON .* TO \"{role}\""):
                kind.runner.run(AsyncInspector(kind.handed).dead_rows())
        finally:
            kind.close()


def test_waiting_for_a_pool_ends_by_our_deadline(open_kind: Callable[[str], AsyncApplication]) -> None:
    """However long the pool would wait; nothing is taken then."""
    kind = open_kind("asyncpg-pool")
    with kind.raw(), pytest.raises(PoolTimeoutError):
        kind.runner.run(AsyncInspector(kind.handed, timeout=0.2).status())
    assert kind.runner.run(AsyncInspector(kind.handed).status()).source == "primary"
