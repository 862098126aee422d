"""Every message of a queue is kept in Postgres once, by day; whoever is killed or away meanwhile, none is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rmqpool import Exchange, Message, Queue, Worker
from rmqpool.errors import ConfigurationError
from rmqpool.secret import Secret
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import environment
from tests.integration.workers.conftest import Bench
from workers.archive.app import make_worker
from workers.archive.settings import PREFIX, ArchiveSettings
from workers.environment import read_settings

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
Connection = psycopg.Connection[Any]


@pytest.fixture
def database(outbox_url: str) -> Iterator[Connection]:
    """The database, with the inbox's tables."""
    with psycopg.connect(outbox_url, autocommit=True) as connection:
        yield connection


def make(url: str, now: Callable[[], datetime] = lambda: NOON, **more: str) -> Worker:
    """An archive in this database."""
    given = {f"{PREFIX}{name}": text for name, text in {"BATCH_TIMEOUT": "0.1", **more}.items()}
    return make_worker(read_settings(ArchiveSettings, PREFIX, given), Secret(url), now)


def count(database: Connection, table: str = "archived_messages") -> int:
    """Rows of a table; 0 if it is not there."""
    found = database.execute("SELECT to_regclass(%s)", [table]).fetchone()
    if found == (None,):
        return 0
    row = database.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_messages_are_kept_with_all_that_they_say(bench: Bench, database: Connection, outbox_url: str) -> None:
    """Body byte for byte; headers and properties as JSON; where it was published to, and when."""
    bench.pool.declare_once([Exchange("events", type="topic"), Queue("replies", dead_letter=None)])
    worker = bench.start(make(outbox_url, EXCHANGE="events", ROUTING_KEY="order.#"))
    bench.publisher.publish_to(
        "events",
        "order.new",
        b"\x00\xff body",
        message_id="seven",
        headers={"tenant": "größe 🐇", "deep": {"list": [1, None, b"\xff"]}},
        content_type="application/x-own",
        type="order",
        timestamp=1_700_000_000,
        priority=3,
        correlation_id="c",
        reply_to="replies",
        app_id="shop",
    )
    wait_until(lambda: count(database) == 1, "the row", timeout=10)
    with database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute("SELECT * FROM archived_messages").fetchone()
    assert row is not None
    headers = {name: value for name, value in row.pop("headers").items() if name != "x-delivery-count"}
    assert headers == {"tenant": "größe 🐇", "deep": {"list": [1, None, "\\xff"]}}
    assert row == {
        "archived_at": NOON,
        "message_id": "seven",
        "queue": "archive",
        "exchange": "events",
        "routing_key": "order.new",
        "published_at": datetime.fromtimestamp(1_700_000_000, UTC),
        "type": "order",
        "content_type": "application/x-own",
        "content_encoding": None,
        "properties": {
            "delivery_mode": 2,
            "priority": 3,
            "correlation_id": "c",
            "reply_to": "replies",
            "app_id": "shop",
        },
        "body": b"\x00\xff body",
    }
    assert worker.stop(5)
    assert bench.count("replies") == 0  # another consumer answers


def test_each_day_has_a_partition_of_its_own(bench: Bench, database: Connection, outbox_url: str) -> None:
    """Made when its first message comes; a day that was dropped is gone, and the others stay. Schemas work."""
    moments = [NOON.replace(hour=23, minute=59), NOON.replace(day=22, hour=0, minute=0)]
    database.execute("CREATE SCHEMA kept")
    worker = bench.start(make(outbox_url, lambda: moments[0], TABLE="kept.messages"))
    for number in range(2):
        bench.publisher.publish("archive", {"n": number})
        wait_until(lambda number=number: worker.stats().handled == number + 1, "the message", timeout=10)  # type: ignore[misc]
        moments[0] = moments[1]
    assert count(database, "kept.messages_20261121") == count(database, "kept.messages_20261122") == 1
    database.execute("DROP TABLE kept.messages_20261122")
    bench.publisher.publish("archive", {"n": 2})
    wait_until(lambda: worker.stats().handled == 3, "the message", timeout=10)
    assert count(database, "kept.messages_20261122") == 1
    assert count(database, "kept.messages") == 2


def test_a_message_that_comes_twice_is_kept_once(bench: Bench, database: Connection, outbox_url: str) -> None:
    """By its message_id: in one batch, and in a later one on another day."""
    moments = [NOON]
    worker = bench.start(make(outbox_url, lambda: moments[0]))
    for message_id in ("a", "a", "b"):
        bench.publisher.publish("archive", {}, message_id=message_id)
    wait_until(lambda: worker.stats().handled + worker.stats().duplicates == 3, "the three", timeout=10)
    moments[0] = NOON.replace(day=23)
    bench.publisher.publish("archive", {}, message_id="a")
    wait_until(lambda: worker.stats().handled + worker.stats().duplicates == 4, "the fourth", timeout=10)
    rows = database.execute("SELECT message_id FROM archived_messages ORDER BY 1").fetchall()
    assert rows == [("a",), ("b",)]


def test_what_the_database_does_not_take_is_parked_alone(bench: Bench, database: Connection, outbox_url: str) -> None:
    """A NUL in a text that Postgres cannot hold, or no message_id: the others of the batch are kept."""
    bench.pool.declare_once([Queue("archive")])
    good = [bench.publisher.submit("archive", {}, message_id=f"good-{n}") for n in range(20)]
    bad = bench.publisher.submit("archive", {}, message_id="bad", headers={"x": "a\0b"})
    foreign = bench.publisher.submit_message(Message("", "archive", b"", ""))
    for future in (*good, bad, foreign):
        future.result()
    worker = bench.start(make(outbox_url))
    parked = [bench.take("archive.dead") for _ in range(2)]
    reasons = {delivery.message_id == "bad": delivery.headers["x-rmqpool-reason"] for delivery in parked}
    assert reasons[False] == "no-message-id"
    assert reasons[True].startswith("rejected:it cannot be archived: ")
    wait_until(lambda: worker.stats().handled == 20, "the others", timeout=10)
    assert count(database) == 20


def test_two_archives_share_a_queue_and_make_one_partition(bench: Bench, database: Connection, outbox_url: str) -> None:
    """Both find no table, and neither fails; batches are full where there is enough."""
    bench.pool.declare_once([Queue("archive")])
    futures = [bench.publisher.submit("archive", {"n": n}) for n in range(1000)]
    for future in futures:
        future.result()
    workers = [bench.start(make(outbox_url, BATCH="50")) for _ in range(2)]
    wait_until(lambda: sum(worker.stats().handled for worker in workers) == 1000, "all messages", timeout=15)
    assert sum(worker.stats().parked + worker.stats().failed for worker in workers) == 0
    assert count(database) == count(database, "archived_messages_20261121") == 1000
    batches = database.execute("SELECT count(DISTINCT xmin::text) FROM archived_messages").fetchone()
    assert batches is not None
    assert batches[0] <= 60


def test_a_database_that_is_killed_loses_nothing(
    bench: Bench, database: Connection, postgres: PostgresServer, outbox_url: str
) -> None:
    """Messages wait unacknowledged, without an attempt being counted, and are kept once it is back."""
    worker = bench.start(make(outbox_url, BATCH="20"))
    bench.publisher.publish("archive", {})
    wait_until(lambda: worker.stats().handled == 1, "the first", timeout=10)
    database.close()
    postgres.kill()
    for number in range(100):
        bench.publisher.publish("archive", {"n": number})
    wait_until(lambda: worker.stats().postponed > 0, "the archive to notice", timeout=15)
    postgres.start()
    wait_until(lambda: worker.stats().handled == 101, "all messages", timeout=30)
    with psycopg.connect(outbox_url) as connection:
        assert count(connection) == 101
    assert worker.stats().parked == 0


def test_an_archive_killed_in_the_middle_keeps_each_message_once(
    bench: Bench, database: Connection, outbox_url: str, tmp_path: Path
) -> None:
    """Killed (-9) twice; all that the environment says is taken."""
    total = 1000
    bench.pool.declare_once([Queue("archive")])
    futures = [bench.publisher.submit("archive", {"n": n}, message_id=str(n)) for n in range(total)]
    for future in futures:
        future.result()
    variables = {"ARCHIVE_BATCH": "10", "ARCHIVE_TABLE": "kept", "RMQPOOL_POSTGRES_URL": outbox_url}
    command = [sys.executable, "-m", "rmqpool", "worker", "workers.archive:worker", "--burst", "--url", bench.url]
    for part in (0.1, 0.5, 1.0):
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(
                command, env=environment(**variables), cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            if part < 1.0:
                wait_until(lambda part=part: count(database, "kept") >= total * part, "a part", timeout=20)  # type: ignore[misc]
            else:
                assert process.wait(30) == 0, (tmp_path / "output").read_text()
        finally:
            process.kill()
            process.wait(10)
    rows = database.execute("SELECT message_id, body FROM kept").fetchall()
    assert len(rows) == total
    assert {(message_id, json.loads(body)["n"]) for message_id, body in rows} == {(str(n), n) for n in range(total)}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"TABLE": "x; DROP TABLE y"}, "ARCHIVE_TABLE is 'x; DROP TABLE y': String should match pattern"),
        ({"BATCH": "2001"}, "ARCHIVE_BATCH is '2001': Input should be less than or equal to 2000"),
        ({"BATCH": "500", "CONCURRENCY": "5"}, "ARCHIVE_BATCH times ARCHIVE_CONCURRENCY is 2500"),
    ],
)
def test_a_wrong_setting_is_a_sentence_that_names_its_variable(more: dict[str, str], said: str) -> None:
    """Also of two together."""
    with pytest.raises(ConfigurationError) as caught:
        make("postgresql://nobody@127.0.0.1/", **more)
    assert said in str(caught.value)


def test_an_archive_without_a_database_says_so() -> None:
    """By the name of the variable."""
    with pytest.raises(ConfigurationError, match="RMQPOOL_POSTGRES_URL is not set"):
        make_worker(read_settings(ArchiveSettings, PREFIX, {}), None)
