"""Messages move to another queue, virtual host or broker whole; whoever is killed or away meanwhile, none is lost."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rmqpool import Binding, Exchange, Queue, Worker
from rmqpool.errors import ConfigurationError, NotFoundError
from rmqpool.headers import without_broker_history
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import environment
from tests.integration.workers.conftest import Bench
from workers.environment import read_settings
from workers.shovel.app import make_worker
from workers.shovel.settings import PREFIX, ShovelSettings

SOURCE = Queue("source", type="classic", dead_letter=None, max_priority=5)  # as another client declared it


@pytest.fixture
def there(broker: RabbitMQNode) -> Iterator[Bench]:
    """Another virtual host, with the queue `target`."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    broker.add_vhost(name)
    made = Bench(broker.amqp_url(vhost=name))
    made.pool.declare_once([Queue("target", dead_letter=None)])
    yield made
    made.close()
    broker.delete_vhost(name)


def make(to: str, **more: str) -> Worker:
    """From `source` to the queue `target`, unless told otherwise."""
    given = {"FROM_QUEUE": "source", "TO_URL": to, "TO_QUEUE": "target", "TIMEOUT": "5", **more}
    return make_worker(read_settings(ShovelSettings, PREFIX, {f"{PREFIX}{name}": text for name, text in given.items()}))


def fill(bench: Bench, count: int) -> None:
    """Numbered messages in `source`."""
    bench.pool.declare_once([SOURCE])
    futures = [bench.publisher.submit("source", {"n": n}, message_id=str(n)) for n in range(count)]
    for future in futures:
        future.result()


def test_messages_move_with_all_that_they_say(bench: Bench, there: Bench) -> None:
    """Body, properties, headers, message_id; the queue that they come from stays as somebody declared it."""
    bench.pool.declare_once([SOURCE, Queue("replies", dead_letter=None)])
    bench.publisher.publish(
        "source",
        b"\x00\xff body",
        message_id="seven",
        headers={"tenant": "größe", "deep": {"list": [1, None, True]}},
        priority=3,
        expiration=60,
        correlation_id="c",
        reply_to="replies",
        type="t",
        app_id="a",
        timestamp=1_700_000_000,
        content_type="application/x-own",
        content_encoding="own",
        persistent=False,
        user_id=bench.pool.settings.user,
    )
    worker = bench.start(make(there.url))
    found = there.take("target")
    assert (found.body, found.message_id, found.priority, found.expiration) == (b"\x00\xff body", "seven", 3, "60000")
    assert without_broker_history(found.headers) == {"tenant": "größe", "deep": {"list": [1, None, True]}}
    assert (found.correlation_id, found.reply_to, found.type, found.app_id) == ("c", "replies", "t", "a")
    assert (found.timestamp, found.content_type, found.content_encoding) == (1_700_000_000, "application/x-own", "own")
    assert (found.delivery_mode, found.user_id) == (1, bench.pool.settings.user)
    assert worker.stop(5)
    assert bench.count("source") == 0
    assert bench.count("replies") == 0  # whoever handles the copy answers
    bench.pool.declare_once([SOURCE])  # would differ otherwise


def test_a_window_of_one_keeps_the_order(bench: Bench, there: Bench) -> None:
    """One after the other, each confirmed before the next is sent."""
    fill(bench, 50)
    bench.start(make(there.url, WINDOW="1"))
    assert [there.take("target").message_id for _ in range(50)] == [str(n) for n in range(50)]


def test_no_more_than_the_rate_go(bench: Bench, there: Bench) -> None:
    """Thirty messages at twenty a second take a second and more."""
    fill(bench, 30)
    begun = time.monotonic()
    worker = bench.start(make(there.url, RATE="20"))
    wait_until(lambda: worker.stats().handled == 30, "all messages", timeout=10)
    assert time.monotonic() - begun >= 1.3
    assert there.count("target") == 30


def test_an_exchange_gets_each_message_by_its_own_key(bench: Bench, there: Bench) -> None:
    """What it has no queue for is parked at the source, with the reason; the others go on."""
    there.pool.declare_once([Exchange("events", type="topic"), Binding("events", "target", "order.*")])
    bench.pool.declare_once([SOURCE, Exchange("events", type="topic"), Binding("events", "source", "#")])
    for key in ("order.new", "mail.new", "order.paid"):
        bench.publisher.publish_to("events", key, {}, message_id=key)
    given = {"FROM_QUEUE": "source", "TO_URL": there.url, "TO_EXCHANGE": "events"}
    bench.start(
        make_worker(read_settings(ShovelSettings, PREFIX, {f"{PREFIX}{name}": text for name, text in given.items()}))
    )
    found = [there.take("target") for _ in range(2)]
    assert {delivery.routing_key for delivery in found} == {"order.new", "order.paid"}
    parked = bench.take("source.dead")
    assert parked.message_id == "mail.new"
    assert parked.headers["x-rmqpool-reason"].startswith("rejected:unroutable")


def test_what_is_not_there_is_a_sentence_at_the_start(bench: Bench, there: Bench) -> None:
    """Neither source nor target is declared by the shovel: a name that is mistyped makes no queue."""
    bench.pool.declare_once([SOURCE])
    with pytest.raises(
        ConfigurationError, match=r"SHOVEL_TO_QUEUE: there is no queue 'tragte' on amqp://.*; declare it first"
    ):
        make(there.url, TO_QUEUE="tragte").start(pool=bench.url)
    with pytest.raises(NotFoundError, match="no queue 'suorce'"):
        make(there.url, FROM_QUEUE="suorce").start(pool=bench.url)


def test_a_target_that_takes_nothing_is_waited_for(
    bench: Bench, there: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A full queue, or one that was deleted: messages stay where they are, unacknowledged, and go on later."""
    caplog.set_level(logging.INFO, "rmqpool.workers.shovel")
    fill(bench, 5)
    there.pool.declare_once([Queue("small", "classic", dead_letter=None, max_length=2, overflow="reject-publish")])
    worker = bench.start(make(there.url, TO_QUEUE="small"))
    wait_until(lambda: "takes nothing now" in caplog.text, "the shovel to say so", timeout=10)
    ids = set()
    while len(ids) < 5:
        ids.add(there.take("small").message_id)
    assert ids == {str(n) for n in range(5)}
    wait_until(lambda: worker.stats().handled == 5, "all messages", timeout=15)
    assert worker.stats().parked == 0
    wait_until(lambda: "takes messages again" in caplog.text, "the shovel to say so", timeout=10)


def test_a_target_that_takes_nothing_for_long_parks_nothing(bench: Bench, there: Bench) -> None:
    """Shortly before the source's consumer timeout its messages go back, and are moved when there is room."""
    fill(bench, 2)
    there.pool.declare_once([Queue("small", "classic", dead_letter=None, max_length=1, overflow="reject-publish")])
    there.publisher.publish("small", b"", message_id="in the way")
    worker = make(there.url, TO_QUEUE="small")
    (definition,) = worker._definitions
    worker._definitions[:] = [replace(definition, guards=replace(definition.guards, delivery_timeout=2.0))]
    bench.start(worker)
    wait_until(lambda: worker.stats().overdue >= 2, "messages that are overdue", timeout=40)
    ids: set[str | None] = set()

    def is_over() -> bool:
        """Room is made again and again: one that went back just when its copy was confirmed is moved twice."""
        ids.update(delivery.message_id for delivery in there.take_all("small"))
        return {"0", "1"} <= ids and not worker.stats().in_progress and not bench.count("source")

    wait_until(is_over, "all messages to be moved", timeout=60)
    assert worker.stats().parked == 0


def test_a_destination_that_is_killed_loses_nothing(bench: Bench, private_broker: RabbitMQNode) -> None:
    """Killed (-9) in the middle, and started again: each message arrives, once or more, with its message_id."""
    there = Bench(private_broker.amqp_url())
    try:
        name = f"target-{uuid.uuid4().hex[:8]}"
        there.pool.declare_once([Queue(name, dead_letter=None)])
        private_broker.sync_queues()
        fill(bench, 600)
        worker = bench.start(make(there.url, TO_QUEUE=name, RATE="300", TIMEOUT="3"))
        wait_until(lambda: worker.stats().handled >= 100, "a part of them", timeout=10)
        private_broker.kill()
        private_broker.start()
        wait_until(lambda: worker.stats().handled == 600, "all messages", timeout=45)
        assert {delivery.message_id for delivery in there.take_all(name)} == {str(n) for n in range(600)}
        assert worker.stats().parked == 0
    finally:
        there.close()


def test_a_shovel_killed_in_the_middle_loses_nothing(bench: Bench, there: Bench, tmp_path: Path) -> None:
    """Killed (-9) three times: all arrive, and at each death the window's messages at most arrive twice."""
    count, window = 600, 20
    fill(bench, count)
    variables = {
        "FROM_QUEUE": "source",
        "TO_URL": there.url,
        "TO_QUEUE": "target",
        "WINDOW": str(window),
        "RATE": "1000",
    }
    command = [sys.executable, "-m", "rmqpool", "worker", "workers.shovel:worker", "--url", bench.url]
    for part in (0.2, 0.5, 0.8):
        with (tmp_path / "output").open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment(**{f"{PREFIX}{name}": text for name, text in variables.items()}),
                cwd=tmp_path,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(lambda part=part: there.count("target") >= count * part, "a part of them", timeout=20)  # type: ignore[misc]
        finally:
            process.kill()
            process.wait(10)
    worker = bench.start(make(there.url))
    wait_until(
        lambda: there.count("target") >= count and bench.count("source") == 0 and worker.stats().in_progress == 0,
        "the rest",
        timeout=20,
    )
    assert worker.stop(5)
    assert bench.count("source") == 0
    found = [delivery.message_id for delivery in there.take_all("target")]
    assert set(found) == {str(n) for n in range(count)}
    assert len(found) - count <= 3 * window
