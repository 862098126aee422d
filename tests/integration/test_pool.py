"""What the pool promises: connections apart, replaced without anybody noticing, honest figures, and an end in time."""

import gc
import queue as queues
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from background import in_thread

from rmqpool import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionPool,
    Consumer,
    Delivery,
    PoolClosedError,
    Publisher,
    PublishFuture,
    Queue,
)
from rmqpool.amqp.link import LinkState
from rmqpool.lease import LeasedChannel
from rmqpool.pool_stats import ChannelStats
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]
Connections = Callable[..., list[dict[str, Any]]]


def classic(name: str, **options: Any) -> Queue:
    return Queue(name, type="classic", dead_letter=False, **options)


def channels(pool: ConnectionPool) -> ChannelStats:
    stats = pool.stats().channels
    assert stats is not None
    return stats


def serial_of(channel: LeasedChannel) -> int:
    return channel._channel.serial


# Connections


def test_publishing_consuming_and_leasing_are_apart(
    pool: ConnectionPool, connections: Connections, queue_name: str
) -> None:
    """Each has a connection of its own, opened when it is needed first."""
    pool.open()
    assert [len(connections(role)) for role in ("publish", "lease")] == [1, 0]
    with pool.channel() as channel:
        channel.queue_declare(queue_name)
        assert [len(connections(role)) for role in ("publish", "lease")] == [1, 1]


def test_it_opens_itself_at_first_use(pool: ConnectionPool) -> None:
    """And opens nothing before."""
    assert pool.stats().connections == ()
    with pool.channel() as channel:
        assert channel.is_open


def test_publish_connections_are_as_many_as_asked_for(make_pool: MakePool, connections: Connections) -> None:
    """open() waits for all of them."""
    make_pool(publish_connections=3).open()
    assert len(connections("publish")) == 3


def test_resizing_changes_the_number_of_publish_connections(
    make_pool: MakePool, connections: Connections, queue_name: str
) -> None:
    """Up at once, down as soon as they are quiet, and publishing goes on."""
    pool = make_pool()
    publisher = Publisher(pool, declare=[classic(queue_name)])
    pool.open()
    pool.resize(publish_connections=3)
    wait_until(lambda: len(connections("publish")) == 3, "three publish connections", timeout=5)
    futures = [publisher.submit(queue_name, b"x") for _ in range(50)]
    pool.resize(publish_connections=1)
    futures += [publisher.submit(queue_name, b"x") for _ in range(50)]
    assert [future.result().attempts for future in futures] == [1] * 100
    wait_until(lambda: len(connections("publish")) == 1, "one publish connection", timeout=5)


def test_draining_replaces_channels_and_publish_connections(
    make_pool: MakePool, connections: Connections, queue_name: str
) -> None:
    """A publisher in full swing, whose window is never empty, does not notice."""
    pool = make_pool(window=100)
    publisher = Publisher(pool, declare=[classic(queue_name)])
    publisher.publish(queue_name, b"x")
    with pool.channel() as channel:
        first = serial_of(channel)
    (before,) = connections("publish")
    stop, futures = threading.Event(), list[PublishFuture]()

    def publish() -> int:
        while not stop.is_set():
            futures.append(publisher.submit(queue_name, b"x", timeout=20))
        return len(futures)

    thread, results = in_thread(publish)
    wait_until(lambda: len(futures) > 100, "a full window", timeout=5)
    began = time.monotonic()
    pool.drain(timeout=10)
    assert time.monotonic() - began < 5
    wait_until(lambda: [row["name"] for row in connections("publish")] != [before["name"]], "the new one", timeout=5)
    wait_until(lambda: len(connections("publish")) == 1, "the end of the old one", timeout=5)
    stop.set()
    thread.join(10)
    assert results == [len(futures)]
    assert {future.result().attempts for future in futures} == {1}
    with pool.channel() as channel:
        assert serial_of(channel) != first


def test_a_replaced_publish_connection_keeps_the_order_of_a_thread(make_pool: MakePool, queue_name: str) -> None:
    """What a thread left on the old connection is stored before what it hands to the new one, also with a full window."""
    pool = make_pool(window=2000)
    publisher = Publisher(pool, declare=[Queue(queue_name)])
    bodies = [str(number).encode().ljust(500) for number in range(20_000)]
    futures, draining = [], list[threading.Thread]()
    for number, body in enumerate(bodies):
        futures.append(publisher.submit(queue_name, body, timeout=60))
        if number % 2500 == 1000:
            draining.append(in_thread(pool.drain)[0])
    assert {future.result().attempts for future in futures} == {1}
    for thread in draining:
        thread.join(60)
    arrived: queues.SimpleQueue[Delivery] = queues.SimpleQueue()
    with Consumer(pool, queue_name, arrived.put, prefetch=len(bodies)):
        assert [arrived.get(timeout=30).body for _ in bodies] == bodies


def test_an_old_publish_connection_is_replaced(make_pool: MakePool, connections: Connections, queue_name: str) -> None:
    """After max_lifetime, at the next publish."""
    pool = make_pool(max_lifetime=0.3)
    publisher = Publisher(pool, declare=[classic(queue_name)])
    publisher.publish(queue_name, b"x")
    (first,) = connections("publish")

    def replaced() -> bool:
        publisher.publish(queue_name, b"x")
        return [row["name"] for row in connections("publish")] not in ([], [first["name"]])

    wait_until(replaced, "another connection", timeout=5, interval=0.1)


# Figures


def test_stats_and_repr_tell_what_there_is_and_no_password(
    make_pool: MakePool, broker: RabbitMQNode, vhost: str
) -> None:
    """One moment, as frozen values."""
    broker.add_user("teller", "pa55word", vhosts=(vhost,))
    pool = make_pool(broker.amqp_url(user="teller", password="pa55word", vhost=vhost))
    pool.open()
    with pool.channel():
        stats = pool.stats()
        assert [status.state for status in stats.connections] == [LinkState.READY, LinkState.READY]
        assert stats.publish[0].broker == f"RabbitMQ {'.'.join(map(str, broker.version()))}"
        assert stats.channels is not None
        assert (stats.channels.leased, stats.channels.capacity) == (1, 32)
        assert "1 of 32 channels leased" in repr(pool)
    for text in (repr(pool), repr(pool.stats()), repr(pool.settings), repr(Publisher(pool))):
        assert "pa55word" not in text
    pool.close()
    assert "closed" in repr(pool)
    broker.delete_user("teller")


@pytest.mark.parametrize(
    "options",
    [
        {"publish_connections": 0},
        {"channels_per_connection": -1},
        {"consume_connections": 1.5},
        {"max_waiting": -1},
        {"timeout": 0},
        {"max_idle": float("nan")},
        {"window": True},
        {"heartbeat": -1},
        {"channels_per_connection": 2047},  # as many as the URL's channel_max: none would stay for declarations
    ],
)
def test_values_that_make_no_sense_are_refused(vhost_url: str, options: dict[str, Any]) -> None:
    """With the name of the value."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ConnectionPool(vhost_url, **options)


# The end


def test_closing_ends_everything(make_pool: MakePool, connections: Connections) -> None:
    """Connections on the broker, threads, and it may be closed again."""
    before = set(threading.enumerate())
    pool = make_pool(publish_connections=2)
    pool.open()
    held = pool.channel()
    assert pool.close(timeout=5)
    assert set(threading.enumerate()) <= before
    wait_until(lambda: connections() == [], "the end of the connections", timeout=5)
    assert not held.is_open
    held.release()
    assert pool.close()
    for use in (pool.open, pool.channel, pool.drain, lambda: pool.resize(publish_connections=2)):
        with pytest.raises(PoolClosedError):
            use()


def test_closing_ends_whoever_waits_for_a_channel(make_pool: MakePool) -> None:
    """With PoolClosedError, at once."""
    pool = make_pool(channels_per_connection=1)
    held = pool.channel()
    waiting = [in_thread(lambda: pool.channel(timeout=30)) for _ in range(3)]
    wait_until(lambda: channels(pool).waiting == 3, "three waiters", timeout=5)
    began = time.monotonic()
    pool.close()
    for thread, results in waiting:
        thread.join(5)
        assert isinstance(results[0], PoolClosedError)
    assert time.monotonic() - began < 3
    held.release()


def test_closing_ends_a_call_on_a_leased_channel(private_broker: RabbitMQNode, make_pool: MakePool) -> None:
    """Even when the broker does not answer, close returns within its timeout."""
    pool = make_pool(private_broker.amqp_url())
    channel = pool.channel()
    private_broker.pause()
    thread, results = in_thread(lambda: channel.queue_declare("q", timeout=30))
    began = time.monotonic()
    pool.close(timeout=1)
    assert time.monotonic() - began < 2
    thread.join(5)
    private_broker.resume()
    assert isinstance(results[0], PoolClosedError | Exception)
    assert "closed" in str(results[0])
    channel.release()


def test_a_block_that_cannot_open_leaves_nothing_behind(broker: RabbitMQNode, vhost: str) -> None:
    """`with` never reaches its end then: the pool closes itself."""
    before = set(threading.enumerate())
    with pytest.raises(ConnectionFailedError), ConnectionPool(broker.amqp_url(password="wrong", vhost=vhost)):
        pytest.fail("never reached")
    assert set(threading.enumerate()) == before


def test_a_pool_that_is_dropped_ends_with_a_warning(vhost_url: str) -> None:
    """Its connections and threads do not outlive it."""
    before = set(threading.enumerate())
    pool = ConnectionPool(vhost_url)
    pool.open()
    gc.collect()  # what others left is no finding of this test
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del pool
        # While another thread collects, gc.collect() returns at once, and has done nothing.
        wait_until(lambda: (gc.collect(), caught)[1], "the end of the pool", timeout=60)
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "dropped without close()" in str(caught[0].message)
    wait_until(lambda: set(threading.enumerate()) <= before, "the end of its threads", timeout=60)
