"""Postgres' disk is full for a while: writers are told, the relay says so and waits, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pika
import psycopg
import pytest

from faults.harness import until
from faults.outbox_story import Story
from faults.small_disk import SmallDisk, small_disk
from rmqpool.outbox import Relay
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.postgres import LocalPostgres, find_postgres
from rmqpool.testing.processes import service_user

IN_HAND = 200
SMALL: dict[str, int] = {"batch_size": 50, "batches_in_flight": 4}


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """Room for a small database, or for five segments of WAL."""
    try:
        find_postgres()
    except ServicesError as error:
        pytest.skip(f"NOT TESTED: {error}")
    with small_disk(80, service_user("postgres")) as disk:
        yield disk


@pytest.fixture
def server(disk: SmallDisk) -> Iterator[LocalPostgres]:
    """A running one of the test's own; it ends before the disk does."""
    # Few segments of WAL are kept, so that a new one is needed soon.
    with LocalPostgres("min_wal_size = 32MB\nmax_wal_size = 32MB") as server:
        yield server


def test_a_full_disk_of_tables_is_told_and_waited_for(
    server: LocalPostgres, disk: SmallDisk, vhost_url: str, queue_name: str
) -> None:
    """53100: a writer's transaction is refused whole; what needs no space goes on; the rest follows when there is some."""
    server.psql(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
    server.psql("CREATE DATABASE shop TABLESPACE small")
    with Story(vhost_url, server.database_url("shop"), queue_name) as story:
        story.write(2)
        story.wait_for_committed(100)
        with psycopg.connect(story.database, autocommit=True) as service:
            with service.transaction():
                bodies = [os.urandom(1500) for _ in range(100)]
                later = story.outbox.publish_many(service, "later", bodies, key="later")
            disk.fill()
            with Relay(story.amqp, story.database, **SMALL) as relay:
                # The broker returns them, and there is no room to set them aside.
                until(lambda: "No space left" in relay.stats().trouble, "the relay to say so", timeout=20)
                with pytest.raises(psycopg.errors.DiskFull, match="No space left"):
                    _write_too_much(story, service)
                until(lambda: relay.stats().removed >= 100, "rows to leave that need no space", timeout=20)
                assert service.execute("SELECT count(*) FROM rmqpool_held").fetchone() == (0,)
                disk.free()
                until(lambda: relay.stats().stalled_keys == 1, "the failing key to be set aside", timeout=20)
                with closing(pika.BlockingConnection(pika.URLParameters(story.amqp))) as connection:
                    channel = connection.channel()
                    channel.queue_declare("later", durable=True)
                    story.wait_for_committed(50)
                    story.stop_writing()
                    story.wait_until_empty()
                    until(lambda: relay.stats().trouble == "", "the end of the trouble", timeout=10)
                    came = [channel.basic_get("later", auto_ack=True)[1] for _ in later]
                    assert [properties.message_id for properties in came] == later
                    assert channel.basic_get("later")[0] is None
        assert story.judge().duplicates <= IN_HAND
        story.assert_order_of_keys()


def test_a_full_disk_of_the_log_is_waited_for(
    server: LocalPostgres, disk: SmallDisk, vhost_url: str, queue_name: str
) -> None:
    """Without room for WAL Postgres stops itself: once it has room and runs again, the relay goes on."""
    server.stop()
    _move(server.folder / "data" / "pg_wal", disk.path / "pg_wal")
    server.start()
    with Story(vhost_url, server.create_database("shop"), queue_name) as story:
        with Relay(story.amqp, story.database, **SMALL) as relay:
            story.write(2)
            story.wait_for_committed(100)
            disk.fill()

            def is_told() -> bool:
                with suppress(ServicesError):  # it panics in one of these
                    server.psql("SELECT pg_switch_wal()")
                return "no work with Postgres" in relay.stats().trouble

            until(is_told, "the relay to say so", timeout=40)
            assert "No space left" in server.log()
            disk.free()
            try:
                server.start()
            except ServicesError:  # it was about to give up the recovery
                server.start()
            story.wait_for_committed(100)
            story.stop_writing()
            story.wait_until_empty()
            until(lambda: relay.stats().trouble == "", "the end of the trouble", timeout=10)
        assert story.judge().duplicates <= 10 * IN_HAND
        story.assert_order_of_keys()


def _write_too_much(story: Story, service: psycopg.Connection[Any]) -> None:
    """One transaction: two small messages, of which nothing must ever arrive, and more than there is room for."""
    with service.transaction():
        for number in range(2):
            lost = story.outbox.publish(service, story.queue, {"key": "never", "number": number}, key="never")
            story.checker.record_attempt(lost)
            story.checker.record_publish(lost, "not_sent")
        story.outbox.publish_many(service, story.queue, [os.urandom(100_000)] * 20)


def _move(folder: Path, to: Path) -> None:
    subprocess.run(["cp", "--archive", os.fspath(folder), os.fspath(to)], check=True, timeout=20)
    subprocess.run(["rm", "--recursive", os.fspath(folder)], check=True, timeout=20)
    folder.symlink_to(to)
