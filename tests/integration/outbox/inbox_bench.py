"""What the tests of inboxes share: a table of effects, a publisher, and workers that are stopped when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from rmqpool import Publisher, Queue, Worker
from rmqpool.testing.postgres import PostgresServer

MakeWorker = Callable[[], Worker]


@pytest.fixture
def effects_database(postgres: PostgresServer, outbox_url: str) -> str:
    """The URL of a database with the outbox' tables, and one for what handlers did."""
    with psycopg.connect(outbox_url) as connection:
        connection.execute("CREATE TABLE effects (id text, worker text)")
    return outbox_url


@pytest.fixture
def publisher(vhost_url: str, queue_name: str) -> Iterator[Publisher]:
    """For the test's own queue."""
    with Publisher(vhost_url, declare=[Queue(queue_name)]) as one:
        yield one


@pytest.fixture
def make_worker(vhost_url: str) -> Iterator[MakeWorker]:
    """Makes workers on the test's own vhost."""
    with ExitStack() as stack:

        def make() -> Worker:
            worker = Worker("tested", vhost_url)
            stack.callback(worker.stop, 1.0)
            return worker

        yield make


def effects(database: str) -> list[str]:
    """The message ids in the table of effects, sorted."""
    with psycopg.connect(database) as connection:
        return [one for (one,) in connection.execute("SELECT id FROM effects ORDER BY id")]
