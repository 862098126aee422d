"""What keeps a migration from going on, and that nothing is lost by it. tests/faults/test_queue_migration.py has the kills."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pika
import pytest
from managed import FIGURES_AGE, ManagedNode

from rmqpool import AccessRefusedError, ConnectionPool, Exchange, MigrationError, Publisher, Queue
from rmqpool.core.queue_migration import Stage
from rmqpool.planning.migrating import Migration, MigrationOptions
from rmqpool.testing.waiting import wait_until

COUNT = 60
CLASSIC = Queue("orders", type="classic", dead_letter=None)
MakeMigration = Callable[..., Migration]


@pytest.fixture
def pool(managed_url: str) -> Iterator[ConnectionPool]:
    """On a vhost with a classic queue of 60 messages."""
    with ConnectionPool(managed_url) as pool:
        pool.declare_once([CLASSIC])
        with Publisher(pool) as publisher:
            publisher.publish_many("orders", [str(number) for number in range(COUNT)])
        yield pool


@pytest.fixture
def migration(managed: ManagedNode, managed_url: str, pool: ConnectionPool) -> MakeMigration:
    """A migration of that queue."""

    def make(successor: Queue | None = None, **options: float) -> Migration:
        given = MigrationOptions(**{"window": 10, "figures_age": FIGURES_AGE, "timeout": 20.0, **options})  # type: ignore[arg-type]
        return Migration(pool, managed.api(managed_url), "orders", successor, given)

    return make


def taken(pool: ConnectionPool, queue: str = "orders") -> list[int]:
    """Takes all messages."""
    with pool.channel() as channel:
        return [int(one.body) for one in channel.basic_consume(queue, auto_ack=True, inactivity_timeout=0.3)]


def test_a_policy_that_could_drop_messages_is_refused_before_anything_is_moved(
    managed: ManagedNode, managed_url: str, pool: ConnectionPool, migration: MakeMigration
) -> None:
    """It is named; without it the migration goes on."""
    vhost = urlsplit(managed_url).path[1:]
    managed.node.ctl("set_policy", "-p", vhost, "short", r"^orders\.migration$", '{"message-ttl":60000}')
    with pytest.raises(
        MigrationError, match=r"policy 'short' gives the temporary queue 'orders\.migration' message-ttl"
    ):
        migration().run()
    with pool.channel() as channel:
        assert channel.queue_declare("orders", passive=True).message_count == COUNT
    managed.node.ctl("clear_policy", "-p", vhost, "short")
    api = managed.api(managed_url)
    wait_until(
        lambda: not (api.queue("orders.migration") or {})["effective_policy_definition"],
        "what the API tells",
        timeout=15,
    )
    migration().run()
    assert taken(pool) == list(range(COUNT))


def test_two_at_once_exclude_each_other(managed_url: str, pool: ConnectionPool, migration: MakeMigration) -> None:
    """The second one waits a while for a lock that may be a dead process', then says so."""
    with ConnectionPool(managed_url) as other, other.channel() as channel:
        channel.queue_declare("orders.migration.lock", durable=False, exclusive=True)
        with pytest.raises(MigrationError, match="another migration of 'orders' runs just now"):
            migration(timeout=0.5).run()
    migration().run()
    assert taken(pool) == list(range(COUNT))


def test_a_new_queue_that_is_full_keeps_the_rest_in_the_temporary_one(
    pool: ConnectionPool, migration: MakeMigration
) -> None:
    """Consume some of it and run it again: all come."""
    small = Queue("orders", dead_letter=None, max_length=40, overflow="reject-publish")
    with pytest.raises(MigrationError, match="could not be moved"):
        migration(small).run()
    assert migration().stage() is Stage.RETURN
    first = taken(pool)
    migration().run()
    assert set(first + taken(pool)) == set(range(COUNT))


def test_consumers_of_the_new_queue_are_no_obstacle(pool: ConnectionPool, migration: MakeMigration) -> None:
    """They may start as soon as it is there, before the messages are back."""
    steps: list[str] = []
    got: list[int] = []
    one = migration()

    def on_step(step: str) -> None:
        steps.append(step)
        if step == "turned":
            got.extend(taken(pool))

    one._told = on_step
    one.run()
    assert got == []
    assert taken(pool) == list(range(COUNT))
    assert steps.index("deleted") < steps.index("declared") < steps.index("removed")


def test_arguments_that_the_broker_refuses_are_refused_before_anything_is_moved(
    managed: ManagedNode, managed_url: str, pool: ConnectionPool, migration: MakeMigration
) -> None:
    """They are tried under another name first."""
    wrong = Queue("orders", dead_letter=None, arguments={"x-quorum-initial-group-size": "many"})
    with pytest.raises(Exception, match="x-quorum-initial-group-size"):
        migration(wrong).run()
    assert [told["name"] for told in managed.api(managed_url).queues()] == ["orders"]
    assert taken(pool) == list(range(COUNT))


def test_an_exclusive_consumer_is_the_only_one(pool: ConnectionPool) -> None:
    """Whoever comes second is refused; what was delivered and not iterated over can be had after close()."""
    with pool.channel() as first, pool.channel() as second:
        consumer = first.basic_consume("orders", prefetch=10, exclusive=True)
        with pytest.raises(AccessRefusedError):
            second.basic_consume("orders")
        seen = next(consumer)
        consumer.close()
        rest = consumer.rest()
        assert [seen.body, *(one.body for one in rest)] == [str(number).encode() for number in range(len(rest) + 1)]
        assert consumer.rest() == []


def test_an_exchange_of_somebody_elses_under_the_temporary_name_is_refused(
    pool: ConnectionPool, migration: MakeMigration
) -> None:
    """Whatever is bound to it would get the messages too."""
    pool.declare_once([Exchange("orders.migration", type="fanout")])
    with pytest.raises(MigrationError, match="that no migration made"):
        migration().run()
    assert migration().stage() is Stage.PREPARE
    assert taken(pool) == list(range(COUNT))


def test_a_message_that_cannot_be_written_as_it_was_stays_and_is_told(
    managed: ManagedNode, managed_url: str, pool: ConnectionPool, migration: MakeMigration
) -> None:
    """A property that is no UTF-8. Those before it were moved; once it is taken out, the migration goes on."""
    connection = pika.BlockingConnection(pika.URLParameters(managed_url))
    with contextlib.closing(connection):
        properties = pika.BasicProperties(message_id="odd", correlation_id=b"\xff\xfe")
        connection.channel().basic_publish("", "orders", b"60", properties)
    with pytest.raises(
        MigrationError, match=r"message 'odd' .*correlation_id is no UTF-8.* --exact --limit 1 --remove"
    ):
        migration().run()
    assert taken(pool) == [COUNT]
    migration().run()
    assert taken(pool) == list(range(COUNT))
