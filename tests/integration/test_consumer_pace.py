"""What changing a running consumer promises: a pause, another prefetch, a new subscription, channel or connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rmqpool import ConnectionPool, Consumer, Delivery, Publisher, Queue
from rmqpool.consumer import ConsumerEvent
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.integration.consumer_inbox import Inbox

MakePool = Callable[..., ConnectionPool]


def test_a_pause_keeps_what_was_delivered(
    pool: ConnectionPool, publisher: Publisher, queue: Queue, inbox: Inbox
) -> None:
    """Nothing more comes, what was delivered can be settled, and after the pause the rest comes; nothing comes twice."""
    with Consumer(pool, queue, inbox.deliveries.put, prefetch=3) as consumer:
        consumer.wait_ready()
        publisher.publish_many(queue.name, [str(number) for number in range(10)]).raise_for_failures()
        held = [inbox.next() for _ in range(3)]
        consumer.pace(0)
        wait_until(lambda: not consumer.is_ready, "the pause", timeout=10)
        assert all(delivery.ack() for delivery in held)
        with pool.channel() as channel:
            wait_until(
                lambda: channel.queue_declare(queue.name, passive=True).consumer_count == 0, "no consumer", timeout=10
            )
        wait_until(lambda: consumer.status().outstanding == 0, "everything to be settled", timeout=10)
        while not inbox.deliveries.empty():  # what was under way when the pause began
            late = inbox.next()
            late.ack()
            held.append(late)
        consumer.pace(5)
        consumer.wait_ready()
        wait_until(
            lambda: inbox.deliveries.qsize() >= min(5, 10 - len(held)), "as many as the new prefetch", timeout=10
        )
        while len(held) < 10:
            held.append(inbox.next())
            held[-1].ack()
        assert sorted(delivery.body for delivery in held) == [b"%d" % number for number in range(10)]
        assert not any(delivery.redelivered for delivery in held)


def test_a_change_of_pace_under_load_loses_and_doubles_nothing(
    pool: ConnectionPool, publisher: Publisher, queue: Queue
) -> None:
    """Again and again, faster than the broker answers."""
    seen: list[Delivery] = []

    def take(delivery: Delivery) -> None:
        seen.append(delivery)
        delivery.ack()

    count = 3000
    with Consumer(pool, queue, take, prefetch=10) as consumer:
        consumer.wait_ready()
        for number in range(count):
            publisher.submit(queue.name, b"%d" % number)
            if number % 20 == 0:
                consumer.pace((0, 1, 50, 7)[number // 20 % 4])
        consumer.pace(100)
        wait_until(lambda: len(seen) >= count, "all messages", timeout=20)
        consumer.wait_ready()
        wait_until(lambda: consumer.status().outstanding == 0, "everything to be settled", timeout=10)
        with pool.channel() as channel:
            assert channel.queue_declare(queue.name, passive=True).message_count == 0
    assert sorted(int(delivery.body) for delivery in seen) == list(range(count))


def test_a_paused_consumer_stays_paused_after_a_reconnect(
    broker: RabbitMQNode, vhost: str, pool: ConnectionPool, publisher: Publisher, queue: Queue, inbox: Inbox
) -> None:
    """Until it is told otherwise."""
    with Consumer(pool, queue, inbox.deliveries.put, prefetch=3, on_event=inbox.put_event) as consumer:
        consumer.wait_ready()
        consumer.pace(0)
        wait_until(lambda: not consumer.is_ready, "the pause", timeout=10)
        broker.close_all_connections()
        wait_until(lambda: ConsumerEvent.CONNECTION_LOST in inbox.events, "the loss", timeout=10)
        publisher.publish(queue.name, "x", timeout=20)
        with pool.channel(timeout=20) as channel:
            assert channel.queue_declare(queue.name, passive=True).message_count == 1
        consumer.pace(2)
        assert inbox.next().body == b"x"


def test_a_new_subscription_keeps_what_is_unsettled(
    publisher: Publisher, queue: Queue, inbox: Inbox, consumer: Consumer
) -> None:
    """On the same channel: what was delivered is neither delivered again nor lost."""
    publisher.publish(queue.name, "x")
    first = inbox.next()
    consumer.resubscribe()
    wait_until(lambda: consumer.status().subscriptions == 2, "the new subscription", timeout=10)
    assert consumer.outstanding() == [first]
    assert first.ack()
    publisher.publish(queue.name, "y")
    second = inbox.next()
    assert (second.body, second.redelivered) == (b"y", False)


@pytest.mark.parametrize("how", ["reopen", "reconnect"])
def test_another_channel_or_connection_gets_again_what_was_unsettled(
    publisher: Publisher, queue: Queue, inbox: Inbox, consumer: Consumer, how: str
) -> None:
    """Redelivered; the old delivery is stale, and why it was done can be read."""
    publisher.publish(queue.name, "x")
    first = inbox.next()
    getattr(consumer, how)("it was told to")
    again = inbox.next()
    assert (again.body, again.redelivered) == (b"x", True)
    assert not first.ack()
    assert consumer.outstanding() == [again]
    assert again.ack()
    wait_until(lambda: consumer.is_ready and consumer.is_connected, "the consumer", timeout=10)
    assert "it was told to" in str(consumer.status().last_error)
