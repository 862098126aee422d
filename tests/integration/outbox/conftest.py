"""The databases of the outbox' tests, and a client of each library that it writes through."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from rmqpool.outbox import Tables
from rmqpool.outbox.migrations import migrate
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.services import named_postgres_url
from tests.integration.outbox.clients import CLIENTS, Client
from tests.integration.outbox.inbox_bench import effects_database, make_worker, publisher  # noqa: F401 - fixtures
from tests.integration.outbox.kept import KeptConnection
from tests.integration.outbox.relay_bench import bench, start  # noqa: F401 - fixtures

ODD_TABLES = Tables(schema='it\'s a "schema" % {x} $1', prefix="p\"r:e'f%i{x}\\:p1")


@pytest.fixture(scope="session")
def _writing_database(request: pytest.FixtureRequest) -> str:
    url = named_postgres_url()
    if url is None:
        server: PostgresServer = request.getfixturevalue("_private_postgres")
        server.heal()
        url = server.create_database(f"writing_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(url, autocommit=True) as connection:
        for tables in (Tables(), ODD_TABLES):
            migrate(connection, tables)
    return url


@pytest.fixture(scope="module")
def _healed_database(request: pytest.FixtureRequest, _writing_database: str) -> str:
    if named_postgres_url() is None:
        request.getfixturevalue("_private_postgres").heal()
    return _writing_database


@pytest.fixture(scope="session")
def _kept_connection(_writing_database: str) -> Iterator[KeptConnection]:
    with KeptConnection(_writing_database, Tables(), ODD_TABLES) as kept:
        yield kept


@pytest.fixture
def observer(_healed_database: str, _kept_connection: KeptConnection) -> psycopg.Connection[Any]:
    """A connection in autocommit: it sees what was committed. The outbox is empty at first."""
    return _kept_connection.emptied()


@pytest.fixture
def database(_healed_database: str, observer: psycopg.Connection[Any]) -> str:
    """The URL of a database with the outbox' tables, of the default names and odd ones, all empty. It may not be broken."""
    return _healed_database


@pytest.fixture
def open_client(database: str) -> Iterator[Callable[[str], Client]]:
    """Opens a client by its library's name; all are rolled back and closed at the end."""
    opened: list[Client] = []

    def open_one(name: str) -> Client:
        opened.append(CLIENTS[name](database))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest, open_client: Callable[[str], Client]) -> Client:
    """A client of each library in turn."""
    return open_client(request.param)


@pytest.fixture
def odd_tables() -> Tables:
    """Tables whose names hold every character that some placeholder or quotation begins with."""
    return ODD_TABLES
