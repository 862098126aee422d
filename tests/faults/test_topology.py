"""Rows 10 and 12 of the fault matrix: queues that are not as declared, and queues that vanish under a consumer."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from faults.harness import Collector, drain, judge, open_pool, until
from faults.tally import Tally
from rmqpool import (
    Confirmation,
    ConnectionPool,
    Consumer,
    Delivery,
    Exchange,
    NotFoundError,
    PoolTimeoutError,
    Publisher,
    Queue,
    TopologyMismatchError,
    UnroutableError,
)
from rmqpool.consumer import ConsumerEvent
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode


@pytest.fixture
def pool(vhost_url: str) -> Iterator[ConnectionPool]:
    """A pool on the test's own vhost."""
    with open_pool(vhost_url, timeout=10) as opened:
        yield opened


class Told:
    """What a consumer says of itself, to be waited for. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[tuple[ConsumerEvent, str]] = []

    def __call__(self, event: ConsumerEvent, sentence: str) -> None:
        with self._changed:
            self.events.append((event, sentence))
            self._changed.notify_all()

    def wait_for(self, event: ConsumerEvent, count: int = 1, timeout: float = 10.0) -> str:
        """Wait until ``event`` was told ``count`` times; its last sentence."""

        def sentences() -> list[str]:
            return [sentence for kind, sentence in self.events if kind is event]

        with self._changed:
            assert self._changed.wait_for(lambda: len(sentences()) >= count, timeout), (
                f"no {event} within {timeout:g} s: {self.events}"
            )
            return sentences()[-1]


def names_of(broker: RabbitMQNode, vhost: str) -> set[str]:
    """The queues that are there."""
    return {queue["name"] for queue in broker.list_queues(vhost)}


# Row 10: a queue redeclared with other arguments


def test_publisher_is_shown_the_difference_and_nothing_is_changed(
    pool: ConnectionPool, vhost_url: str, queue_name: str
) -> None:
    """A queue with other arguments: the publisher says which, writes nothing, deletes nothing."""
    first = Tally(Publisher(pool, declare=[Queue(queue_name, max_length=1000)]))
    for _ in range(5):
        first.submit(queue_name)
    first.outcomes()
    other = Publisher(pool, declare=[Queue(queue_name, max_length=50, message_ttl=60)])

    with pytest.raises(TopologyMismatchError) as caught:
        other.publish(queue_name, b"never written")

    assert caught.value.differences["x-max-length"] == ("50", "1000")
    assert "x-max-length: declared 50, there is 1000" in str(caught.value)
    assert "nothing was changed" in str(caught.value)
    assert isinstance(first.publish(queue_name), Confirmation)
    assert first.verdict(vhost_url, queue_name).received == 6


def test_type_of_a_queue_or_an_exchange_that_differs_is_shown(pool: ConnectionPool, queue_name: str) -> None:
    """Classic where quorum was declared, fanout where topic was: the difference names both."""
    pool.declare([Queue(queue_name, type="classic", dead_letter=False), Exchange("events", type="fanout")])

    with pytest.raises(TopologyMismatchError, match=f"queue '{queue_name}' exists with other arguments") as queue:
        pool.declare([Queue(queue_name, dead_letter=False)])
    with pytest.raises(TopologyMismatchError, match="exchange 'events' exists with other arguments") as exchange:
        pool.declare([Exchange("events", type="topic")])

    assert queue.value.differences["x-queue-type"] == ("quorum", "classic")
    assert exchange.value.differences["type"] == ("topic", "fanout")


def test_leased_channel_shows_the_difference_and_is_replaced(pool: ConnectionPool, queue_name: str) -> None:
    """queue_declare on a lease: the same error; that channel is closed, the next lease works."""
    with pool.channel() as channel:
        channel.queue_declare(queue_name, arguments={"x-max-length": 10})
        with pytest.raises(TopologyMismatchError) as caught:
            channel.queue_declare(queue_name, arguments={"x-max-length": 20})
        assert "x-max-length" in caught.value.differences
        assert not channel.is_open
    with pool.channel() as channel:
        assert channel.queue_declare(queue_name, passive=True).message_count == 0


def test_queue_replaced_while_running_does_not_stop_the_publisher(
    broker: RabbitMQNode, vhost: str, queue_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody replaced the queue; after the next reconnect the difference is logged, and publishing goes on."""
    url = broker.amqp_url(vhost=vhost)
    with (
        FaultProxy((broker.host, broker.port)) as proxy,
        open_pool(broker.amqp_url(vhost=vhost, port=proxy.port)) as pool,
    ):
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        assert isinstance(tally.publish(queue_name), Confirmation)
        drain(url, queue_name, tally.checker)
        broker.delete_queue(queue_name, vhost)
        with open_pool(url) as other:
            other.declare([Queue(queue_name, max_length=77)])
        proxy.reset()
        for _ in range(20):
            tally.submit(queue_name)
        assert all(isinstance(outcome, Confirmation) for outcome in tally.outcomes())
        assert tally.verdict(url, queue_name).received == 21
    assert any("could not be declared again" in message and "77" in message for message in caplog.messages)


def test_consumer_works_although_its_queue_differs(pool: ConnectionPool, vhost_url: str, queue_name: str) -> None:
    """A consumer whose declaration differs tells it with the difference, and consumes what is there."""
    pool.declare([Queue(queue_name, max_length=1000)])
    told, tally = Told(), Tally(Publisher(pool))
    with Collector(pool, Queue(queue_name, max_length=7), tally.checker, on_event=told) as collector:
        sentence = told.wait_for(ConsumerEvent.DECLARE_FAILED)
        for _ in range(10):
            tally.submit(queue_name)
        collector.wait_for(10)
    assert "x-max-length: declared 7, there is 1000" in sentence
    assert tally.verdict(vhost_url, queue_name).received == 10


# Row 12: a queue deleted under a consumer


def test_deleted_queue_is_declared_again_and_consumed(
    broker: RabbitMQNode, pool: ConnectionPool, vhost: str, vhost_url: str, queue_name: str
) -> None:
    """The broker cancels the consumer: it declares its queue again, subscribes again, and gets what comes."""
    told, tally = Told(), Tally(Publisher(pool, declare=[Queue(queue_name)]))
    with Collector(pool, Queue(queue_name), tally.checker, on_event=told) as collector:
        for _ in range(10):
            tally.submit(queue_name)
        collector.wait_for(10)
        broker.delete_queue(queue_name, vhost)
        told.wait_for(ConsumerEvent.READY, count=2)
        for _ in range(10):
            tally.submit(queue_name)
        collector.wait_for(10)
        assert collector.consumer.status().subscriptions == 2
    assert f"queue '{queue_name}' (deleted" in told.wait_for(ConsumerEvent.CANCELLED_BY_BROKER)
    assert isinstance(tally.publish(queue_name), Confirmation)
    assert tally.verdict(vhost_url, queue_name).received == 21


def test_deleted_queue_leaves_the_consumer_unready_when_told_so(
    broker: RabbitMQNode, pool: ConnectionPool, vhost: str, vhost_url: str, queue_name: str
) -> None:
    """redeclare=False: the queue stays deleted, the consumer says that it is not ready and why, until the queue is back."""
    told, checker = Told(), TotalQueueChecker()
    with Collector(pool, Queue(queue_name), checker, redeclare=False, on_event=told) as collector:
        broker.delete_queue(queue_name, vhost)
        told.wait_for(ConsumerEvent.CHANNEL_CLOSED, count=2)  # two attempts in vain: 404

        assert not collector.consumer.is_ready
        assert queue_name not in names_of(broker, vhost)
        with pytest.raises(PoolTimeoutError, match=f"the consumer of queue '{queue_name}' is not ready") as caught:
            collector.consumer.wait_ready(0.2)
        assert isinstance(caught.value.__cause__, NotFoundError)
        pool.declare([Queue(queue_name)])
        collector.consumer.wait_ready(10)
        tally = Tally(Publisher(pool))
        tally.checker = checker
        for _ in range(5):
            tally.submit(queue_name)
        collector.wait_for(5)
    assert tally.verdict(vhost_url, queue_name).received == 5


def test_acks_for_a_deleted_queue_are_dropped_and_counted(
    broker: RabbitMQNode, pool: ConnectionPool, vhost: str, vhost_url: str, queue_name: str
) -> None:
    """What was delivered before the queue vanished is settled late: dropped, counted, and the new channel lives."""
    told, held = Told(), list[Delivery]()
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    with Consumer(pool, Queue(queue_name), held.append, on_event=told) as consumer:
        for _ in range(3):
            tally.submit(queue_name)
        until(lambda: len(held) == 3, "three deliveries")
        broker.delete_queue(queue_name, vhost)
        told.wait_for(ConsumerEvent.READY, count=2)

        assert [delivery.ack() for delivery in held] == [False] * 3

        assert consumer.status().stale == 3
        for delivery in held:
            tally.checker.record_delivery(delivery.message_id or "", delivery.redelivered)
        tally.submit(queue_name)
        until(lambda: len(held) == 4, "the message to the new queue")
        assert held[3].ack()
        tally.checker.record_delivery(held[3].message_id or "", held[3].redelivered)
        until(lambda: consumer.status().settled == 1, "the ack")
        assert consumer.status().subscriptions == 2
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.received, verdict.duplicates) == (4, 0)


def test_publishing_to_a_deleted_queue_is_unroutable_until_it_is_back(
    broker: RabbitMQNode, pool: ConnectionPool, vhost: str, vhost_url: str, queue_name: str
) -> None:
    """A publisher does not notice the deletion: each message comes back by name, until the queue is there again."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    tally.publish(queue_name)
    drain(vhost_url, queue_name, tally.checker)
    broker.delete_queue(queue_name, vhost)

    assert isinstance(tally.publish(queue_name), UnroutableError)

    pool.declare([Queue(queue_name)])
    assert isinstance(tally.publish(queue_name), Confirmation)
    drain(vhost_url, queue_name, tally.checker)
    verdict = judge(tally.checker)
    assert (verdict.confirmed, verdict.returned, verdict.received) == (2, 1, 2)
