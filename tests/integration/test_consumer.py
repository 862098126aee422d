"""What the low-level consumer promises: it never stops silently, and a settlement never hits another message."""

import logging
import queue as queues
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rmqpool import (
    AuthenticationError,
    ConfigurationError,
    ConnectionPool,
    Consumer,
    Delivery,
    PoolTimeoutError,
    Publisher,
    Queue,
)
from rmqpool.consumer import ConsumerEvent
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.integration.consumer_inbox import Inbox, consume_channels, count, total

MakePool = Callable[..., ConnectionPool]


def test_it_delivers_and_settles(
    consumer: Consumer, publisher: Publisher, broker: RabbitMQNode, vhost: str, inbox: Inbox, queue: Queue
) -> None:
    """In order, with everything that the message carries."""
    publisher.publish(queue.name, {"id": 1}, headers={"a": "b"}, message_id="first")
    publisher.publish(queue.name, b"second")
    first, second = inbox.next(), inbox.next()
    assert (first.message_id, first.headers, first.queue) == ("first", {"a": "b"}, queue.name)
    assert (second.body, second.redelivered, second.attempt) == (b"second", False, 1)
    assert consumer.status().outstanding == 2
    assert first.ack()
    assert second.ack()
    wait_until(lambda: total(broker, vhost, queue) == 0, "an empty queue", timeout=5)
    assert consumer.status().settled == 2


def test_what_is_refused_comes_again_or_is_gone(
    consumer: Consumer, publisher: Publisher, inbox: Inbox, queue: Queue
) -> None:
    """nack requeues, reject does not."""
    publisher.publish(queue.name, b"x")
    assert inbox.next().nack()
    again = inbox.next()
    assert again.redelivered
    assert again.reject()
    wait_until(lambda: consumer.status().outstanding == 0, "the settlement", timeout=5)
    assert inbox.deliveries.empty()


def test_prefetch_bounds_what_is_outstanding(
    consumer: Consumer, publisher: Publisher, pool: ConnectionPool, inbox: Inbox, queue: Queue
) -> None:
    """Ten here; the others wait in the queue."""
    publisher.publish_many(queue.name, [b"x"] * 25)
    wait_until(lambda: consumer.status().outstanding == 10, "ten deliveries", timeout=5)
    assert count(pool, queue) == 15


def test_a_second_settlement_is_dropped_and_counted(
    consumer: Consumer, publisher: Publisher, inbox: Inbox, queue: Queue
) -> None:
    """The broker would close the channel (406)."""
    publisher.publish(queue.name, b"x")
    delivery = inbox.next()
    assert [delivery.ack(), delivery.ack(), delivery.reject()] == [True, False, False]
    assert consumer.status().doubled == 2
    publisher.publish(queue.name, b"y")
    assert inbox.next().ack()
    assert consumer.status().subscriptions == 1


def test_it_consumes_again_after_a_lost_connection(
    consumer: Consumer, publisher: Publisher, pool: ConnectionPool, broker: RabbitMQNode, inbox: Inbox, queue: Queue
) -> None:
    """A settlement from before is stale: dropped and counted, and the message comes again."""
    publisher.publish(queue.name, b"x")
    old = inbox.next()
    broker.close_connection(pool.stats().consume[0].name)
    wait_until(lambda: consumer.status().subscriptions == 2, "the next subscription", timeout=5)
    again = inbox.next()
    assert old.delivery_tag == again.delivery_tag == 1
    assert old.ack() is False
    assert consumer.status().stale == 1
    assert again.redelivered
    assert consumer.status().outstanding == 1, "the stale ack hit the new delivery"
    assert again.ack()
    assert inbox.events == [ConsumerEvent.READY, ConsumerEvent.CONNECTION_LOST, ConsumerEvent.READY]


def test_a_deleted_queue_is_declared_and_consumed_again(
    consumer: Consumer, publisher: Publisher, broker: RabbitMQNode, vhost: str, inbox: Inbox, queue: Queue
) -> None:
    """basic.cancel is a fault, not an end."""
    broker.delete_queue(queue.name, vhost)
    wait_until(lambda: consumer.status().subscriptions == 2, "the next subscription", timeout=5)
    publisher.publish(queue.name, b"x")
    assert inbox.next().body == b"x"
    assert inbox.events == [ConsumerEvent.READY, ConsumerEvent.CANCELLED_BY_BROKER, ConsumerEvent.READY]


def test_without_redeclare_it_waits_until_the_queue_is_there(
    pool: ConnectionPool, broker: RabbitMQNode, vhost: str, inbox: Inbox, queue: Queue
) -> None:
    """Unready meanwhile, and it says why."""
    with Consumer(pool, queue, inbox.deliveries.put, redeclare=False, on_event=inbox.put_event) as consumer:
        consumer.wait_ready()
        broker.delete_queue(queue.name, vhost)
        wait_until(lambda: ConsumerEvent.CHANNEL_CLOSED in inbox.events, "a try in vain", timeout=5)
        assert not consumer.is_ready
        with pytest.raises(PoolTimeoutError, match="no queue"):
            consumer.wait_ready(timeout=0.1)
        assert broker.list_queues(vhost) == []
        pool.declare_once([queue])
        consumer.wait_ready(timeout=10)


def test_a_queue_that_is_missing_is_waited_for(pool: ConnectionPool, inbox: Inbox, queue: Queue) -> None:
    """A consumer by name only may start before its queue."""
    with Consumer(pool, queue.name, inbox.deliveries.put) as consumer:
        wait_until(lambda: consumer.status().last_error, "the first error", timeout=5)
        pool.declare_once([queue])
        consumer.wait_ready(timeout=10)


def test_cancelling_stops_deliveries_and_keeps_what_was_delivered(
    consumer: Consumer, publisher: Publisher, pool: ConnectionPool, inbox: Inbox, queue: Queue
) -> None:
    """It can still be settled."""
    publisher.publish(queue.name, b"x")
    delivery = inbox.next()
    assert consumer.cancel()
    publisher.publish(queue.name, b"y")
    assert not consumer.is_ready
    assert delivery.ack()
    wait_until(lambda: consumer.status().settled == 1, "the settlement", timeout=5)
    assert inbox.deliveries.empty()
    assert count(pool, queue) == 1
    assert consumer.cancel()


def test_a_consumer_that_is_cancelled_while_it_starts_is_never_ready(
    pool: ConnectionPool, publisher: Publisher, inbox: Inbox, queue: Queue
) -> None:
    """The broker's consume-ok may come after the cancel: it does not make it ready again."""
    publisher.publish(queue.name, b"x")  # the queue is there, and the connection open
    for _ in range(50):
        with Consumer(pool, queue, inbox.deliveries.put) as consumer:
            assert consumer.cancel()
            assert not consumer.is_ready


def test_closing_gives_back_what_was_not_settled(
    consumer: Consumer, publisher: Publisher, pool: ConnectionPool, inbox: Inbox, queue: Queue
) -> None:
    """And later settlements are stale."""
    publisher.publish(queue.name, b"x")
    delivery = inbox.next()
    consumer.close()
    consumer.close()
    wait_until(lambda: count(pool, queue) == 1, "the message back in its queue", timeout=5)
    assert delivery.ack() is False
    assert inbox.events[-1] is ConsumerEvent.STOPPED


def test_closing_at_any_moment_leaves_no_channel_open(
    pool: ConnectionPool, broker: RabbitMQNode, vhost: str, inbox: Inbox, queue: Queue
) -> None:
    """Also while the channel is being opened."""
    with Consumer(pool, queue, inbox.deliveries.put) as first:
        first.wait_ready()
        for _ in range(20):
            Consumer(pool, queue.name, inbox.deliveries.put).close()
        with Consumer(pool, queue.name, inbox.deliveries.put) as last:
            last.wait_ready()  # the broker has answered all the others before it
    wait_until(
        lambda: pool.stats().consume[0].epoch == 1 and not consume_channels(broker, vhost), "no channel", timeout=5
    )


def test_cancelling_while_it_subscribes_again_is_answered(
    consumer: Consumer, broker: RabbitMQNode, pool: ConnectionPool
) -> None:
    """The tag of the last subscription means nothing on the next channel."""
    consuming = consumer._consuming
    consume = consuming._consume

    def cancelled_meanwhile(channel: Any) -> None:
        consuming._cancel()
        consume(channel)

    consuming._consume = cancelled_meanwhile  # type: ignore[method-assign]
    broker.close_connection(pool.stats().consume[0].name)
    assert consuming.cancelled.wait(5)
    assert not consumer.is_ready


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_an_error_in_on_delivery_requeues_the_message(
    pool: ConnectionPool,
    publisher: Publisher,
    queue: Queue,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    """It is contained, sys.exit() too: other consumers of the connection do not notice."""
    seen: queues.SimpleQueue[Delivery] = queues.SimpleQueue()

    def fail_once(delivery: Delivery) -> None:
        if not delivery.redelivered:
            raise error("oops")
        seen.put(delivery)

    with caplog.at_level(logging.ERROR, logger="rmqpool"), Consumer(pool, queue, fail_once) as consumer:
        publisher.publish(queue.name, b"x")
        assert seen.get(timeout=5).ack()
        assert consumer.status().subscriptions == 1
    assert "oops" in caplog.text


def test_an_exit_in_on_event_is_contained(
    pool: ConnectionPool, publisher: Publisher, queue: Queue, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The I/O thread goes on, and so does the consumer."""

    def leave(event: ConsumerEvent, sentence: str) -> None:
        raise SystemExit(sentence)

    with Consumer(pool, queue, inbox.deliveries.put, on_event=leave) as consumer:
        consumer.wait_ready()
        publisher.publish(queue.name, b"x")
        assert inbox.next().ack()
        assert consumer.status().subscriptions == 1
        assert pool.stats().consume[0].epoch == 1
    assert "an event listener of the consumer" in caplog.text


def test_stale_settlements_of_many_threads_are_all_counted(
    consumer: Consumer, publisher: Publisher, inbox: Inbox, pool: ConnectionPool, queue: Queue
) -> None:
    """Also when the connection has ended for good."""
    publisher.publish(queue.name, b"x")
    delivery = inbox.next()
    pool.close()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: delivery.ack(), range(400)))
    assert not any(answers)
    assert consumer.status().stale == 400


def test_consumers_share_the_consume_connections(make_pool: MakePool, queue: Queue, inbox: Inbox) -> None:
    """Evenly, and never on the publish connection."""
    pool = make_pool(consume_connections=2)
    consumers = [Consumer(pool, queue, inbox.deliveries.put) for _ in range(4)]
    for consumer in consumers:
        consumer.wait_ready()
    assert sorted(pool._consume._consumers.values()) == [2, 2]
    assert len(pool.stats().consume) == 2
    assert pool.stats().publish == ()
    for consumer in consumers:
        consumer.close()


def test_a_refused_connection_is_told_at_once(
    make_pool: MakePool, broker: RabbitMQNode, vhost: str, inbox: Inbox
) -> None:
    """wait_ready raises the refusal."""
    pool = make_pool(broker.amqp_url(password="wrong", vhost=vhost))
    with Consumer(pool, "orders", inbox.deliveries.put) as consumer, pytest.raises(AuthenticationError):
        consumer.wait_ready(timeout=30)


@pytest.mark.parametrize("prefetch", [0, -1, 70_000, True, 1.5])
def test_a_prefetch_that_makes_no_sense_is_refused(pool: ConnectionPool, prefetch: Any) -> None:
    """Before a connection is opened."""
    with pytest.raises(ConfigurationError, match="prefetch"):
        Consumer(pool, "orders", lambda delivery: None, prefetch=prefetch)
    assert pool.stats().connections == ()


def test_a_quorum_queue_takes_a_prefetch_of_2000_at_most(pool: ConnectionPool) -> None:
    """RabbitMQ's own limit."""
    with pytest.raises(ConfigurationError, match="at most 2000"):
        Consumer(pool, Queue("orders"), lambda delivery: None, prefetch=2001)
