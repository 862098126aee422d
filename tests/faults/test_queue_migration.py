"""A classic queue becomes a quorum queue of the same name, whoever is killed on the way, and where: nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

import pytest
from managed import FIGURES_AGE, ManagedNode
from prepared import Prepared

from faults.processes import run_forked
from rmqpool import Binding, ConnectionPool, Exchange, MigrationError, Publisher, Queue
from rmqpool.core.queue_migration import Stage
from rmqpool.planning.migrating import Migration, MigrationOptions

MakeMigration = Callable[..., Migration]

WINDOW = 10
COUNT = 60
STEPS = [
    ("locked", 0),
    ("tried", 0),
    ("exchange", 0),
    ("temporary", 0),
    ("bound", 0),
    ("unbound", 0),
    ("bound", 1),
    ("confirmed", 25),
    ("moved", 0),
    ("looked", 0),
    ("last", 0),
    ("deleted", 0),
    ("declared", 0),
    ("turned", 0),
    ("bound", 2),
    ("unbound", 2),
    ("confirmed", COUNT + 25),
    ("returned", 0),
    ("removed", 0),
    ("cleaned", 0),
]
CLASSIC = Queue("orders", type="classic", dead_letter=None, max_priority=5)
BOUND = [
    Exchange("events", type="topic"),
    CLASSIC,
    Binding("events", "orders", "order.*"),
    Binding("events", "orders", "special.#", arguments={"note": "kept"}),
]


def fill(url: str) -> None:
    """Numbered messages: half by name, half by the exchange."""
    with Publisher(url, declare=BOUND) as publisher:
        for number in range(COUNT):
            if number % 2:
                publisher.publish("orders", b"", message_id=str(number), priority=number % 3)
            else:
                publisher.publish_to("events", f"order.{number}", b"", message_id=str(number), expiration=3600)


def taken(pool: ConnectionPool, queue: str = "orders") -> list[tuple[str, str, str]]:
    """Takes all messages: id, routing key, expiration."""
    found = []
    with pool.channel() as channel:
        while (delivery := channel.basic_get(queue)) is not None:
            found.append((delivery.message_id or "", delivery.routing_key, delivery.expiration or ""))
            delivery.ack()
    return found


@pytest.fixture
def pool(managed_url: str) -> Iterator[ConnectionPool]:
    """On the test's own vhost."""
    with ConnectionPool(managed_url) as pool:
        yield pool


@pytest.fixture
def migration(managed: ManagedNode, managed_url: str, pool: ConnectionPool) -> Callable[..., Migration]:
    """A migration of the queue in this process."""

    def make(timeout: float = 40.0) -> Migration:
        options = MigrationOptions(window=WINDOW, figures_age=FIGURES_AGE, timeout=timeout)
        return Migration(pool, managed.api(managed_url), "orders", options=options)

    return make


def run_killed_and_again(prepared: Prepared, managed: ManagedNode, url: str, step: str, passes: int) -> None:
    """Killed (-9) and run again: a quorum queue, bound as before, with each message; at most the window is doubled."""
    fill(url)
    arguments = (url, managed.management_url, "orders", step, passes, WINDOW, FIGURES_AGE)
    died = run_forked(prepared, "migrate_queue", *arguments, timeout=60)
    assert died.code == -signal.SIGKILL, died.stderr
    api = managed.api(url)
    with ConnectionPool(url) as pool:
        options = MigrationOptions(window=WINDOW, figures_age=FIGURES_AGE, timeout=60)
        Migration(pool, api, "orders", options=options).run()
        assert [(told["name"], told["type"]) for told in api.queues()] == [("orders", "quorum")]
        assert "orders.migration" not in {told["name"] for told in api.exchanges()}
        bindings = {
            (told["source"], told["routing_key"], str(told["arguments"])) for told in api.queue_bindings("orders")
        }
        assert bindings >= {("events", "order.*", "{}"), ("events", "special.#", "{'note': 'kept'}")}
        assert len(bindings) == 3  # and the default exchange's
        found = taken(pool)
        assert len(found) - COUNT <= WINDOW
        assert set(found) == {
            (str(number), "orders", "") if number % 2 else (str(number), f"order.{number}", "3600000")
            for number in range(COUNT)
        }
        assert Migration(pool, api, "orders", options=options).run().stages == ()


@pytest.mark.parametrize("steps", [STEPS[first::4] for first in range(4)], ids=lambda steps: f"{steps[0][0]} and so on")
def test_a_migration_killed_at_any_step_loses_nothing_and_goes_on(
    prepared: Prepared, managed: ManagedNode, steps: list[tuple[str, int]]
) -> None:
    """Five at once, each in a vhost of its own: most of the time a migration waits for the broker's figures."""
    with ExitStack() as vhosts, ThreadPoolExecutor(len(steps)) as threads:
        urls = [vhosts.enter_context(managed.vhost()) for _ in steps]
        runs = [
            threads.submit(run_killed_and_again, prepared, managed, url, *step)
            for url, step in zip(urls, steps, strict=True)
        ]
        wait(runs)
        wrong = {step: run.exception() for run, step in zip(runs, steps, strict=True) if run.exception()}
        assert not wrong, wrong


def test_publishers_that_go_on_lose_nothing_that_was_confirmed(
    managed_url: str, pool: ConnectionPool, migration: MakeMigration
) -> None:
    """Those that publish to the exchange never notice; while others publish by name the queue is not deleted."""
    fill(managed_url)
    confirmed: list[set[str]] = [set(), set()]
    ends = [threading.Event(), threading.Event()]

    def publish(place: int, exchange: str) -> None:
        with Publisher(managed_url) as publisher:
            while not ends[place].wait(0.005):
                message_id = f"{exchange}{len(confirmed[place])}"
                publisher.publish_to(exchange, "order.new" if exchange else "orders", b"", message_id=message_id)
                confirmed[place].add(message_id)

    threads = [threading.Thread(target=publish, args=given) for given in enumerate(("", "events"))]
    for thread in threads:
        thread.start()
    try:
        with pytest.raises(MigrationError, match="pause the publishers"):
            migration(timeout=2.5).run()
        assert migration().stage() is Stage.EMPTY
        ends[0].set()
        threads[0].join(30)
        migration().run()
    finally:
        for end, thread in zip(ends, threads, strict=True):
            end.set()
            thread.join(30)
    ids = {message_id for message_id, _, _ in taken(pool)}
    expected = {str(number) for number in range(COUNT)} | confirmed[0] | confirmed[1]
    assert ids == expected
    assert min(len(ids) for ids in confirmed) > 100


def test_a_message_that_somebody_holds_keeps_the_queue(
    managed_url: str, pool: ConnectionPool, migration: MakeMigration
) -> None:
    """Nobody consumes any more, but one message is not acknowledged yet: the old queue stays until it is."""
    fill(managed_url)
    with ConnectionPool(managed_url) as other, other.channel() as channel:
        held = channel.basic_get("orders")
        assert held is not None
        with pytest.raises(MigrationError, match="somebody holds 1 unacknowledged message"):
            migration(timeout=2.0).run()
        assert migration().stage() is Stage.EMPTY
    migration().run()
    assert len(taken(pool)) == COUNT


def test_a_queue_that_is_consumed_is_refused_untouched(
    managed: ManagedNode, managed_url: str, pool: ConnectionPool, migration: MakeMigration
) -> None:
    """Nothing was declared or moved; the sentence says what to do."""
    fill(managed_url)
    with ConnectionPool(managed_url) as other, other.channel() as channel:
        consumer = channel.basic_consume("orders", prefetch=1)
        with pytest.raises(MigrationError, match="has 1 consumer: stop them"):
            migration().run()
        consumer.close()
    assert [told["name"] for told in managed.api(managed_url).queues()] == ["orders"]
    assert len(taken(pool)) == COUNT
