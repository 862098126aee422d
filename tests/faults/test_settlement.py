"""Row 11 of the fault matrix: double and stale settlements are dropped and counted, and the channel lives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults.harness import open_pool, until
from faults.tally import Tally
from rmqpool import ConnectionPool, Consumer, Delivery, LeaseReleasedError, Publisher, Queue
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode

TIMEOUT = 10.0


class Held:
    """Deliveries, held unsettled."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deliveries: list[Delivery] = []

    def __call__(self, delivery: Delivery) -> None:
        with self._changed:
            self._deliveries.append(delivery)
            self._changed.notify_all()

    def take(self, count: int) -> list[Delivery]:
        """Wait for ``count`` deliveries, and take them out."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._deliveries) >= count, TIMEOUT), (
                f"{len(self._deliveries)} deliveries, not {count}"
            )
            taken, self._deliveries = self._deliveries[:count], self._deliveries[count:]
            return taken


@pytest.fixture
def pool(vhost_url: str) -> Iterator[ConnectionPool]:
    """A pool on the test's own vhost."""
    with open_pool(vhost_url, timeout=TIMEOUT) as opened:
        yield opened


def settled(consumer: Consumer, count: int) -> None:
    """Wait until ``count`` settlements were written."""
    until(lambda: consumer.status().settled == count, f"{count} settlements written")


def test_second_settlement_is_dropped_and_counted(pool: ConnectionPool, vhost_url: str, queue_name: str) -> None:
    """ack twice, ack then reject, nack then ack: the first counts, the others do nothing, the channel is the same."""
    held, tally = Held(), Tally(Publisher(pool, declare=[Queue(queue_name)]))
    with Consumer(pool, queue_name, held) as consumer:
        for _ in range(3):
            tally.submit(queue_name)
        one, two, three = held.take(3)

        assert [one.ack(), one.ack()] == [True, False]
        assert [two.ack(), two.reject(requeue=True)] == [True, False]
        assert [three.nack(requeue=True), three.ack()] == [True, False]

        again = held.take(1)[0]
        assert (again.message_id, again.redelivered) == (three.message_id, True)
        assert again.ack()
        settled(consumer, 4)
        for delivery in (one, two, three, again):
            tally.checker.record_delivery(delivery.message_id or "", delivery.redelivered)
        status = consumer.status()
        assert (status.doubled, status.stale, status.subscriptions, status.outstanding) == (3, 0, 1, 0)
        assert consumer.is_ready
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.received, verdict.duplicates) == (3, 1)


def test_of_many_threads_that_ack_one_delivery_one_wins(pool: ConnectionPool, queue_name: str) -> None:
    """Sixteen threads ack the same deliveries at once: each is acknowledged once, and the channel lives."""
    held, publisher = Held(), Publisher(pool, declare=[Queue(queue_name)])
    with Consumer(pool, queue_name, held) as consumer, ThreadPoolExecutor(16) as threads:
        publisher.publish_many(queue_name, [b""] * 50).raise_for_failures()
        for delivery in held.take(50):
            assert sorted(threads.map(lambda _, d=delivery: d.ack(), range(16))) == [False] * 15 + [True]
        settled(consumer, 50)
        status = consumer.status()
        assert (status.doubled, status.stale, status.subscriptions) == (750, 0, 1)
        assert publisher.publish(queue_name, b"").attempts == 1
        assert held.take(1)[0].ack()


def test_stale_acks_after_a_reconnect_ack_nothing(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """After a reconnect the same tags are other messages: late acks are dropped and counted, and every message is still there."""
    url = broker.amqp_url(vhost=vhost)
    with (
        FaultProxy((broker.host, broker.port)) as proxy,
        open_pool(broker.amqp_url(vhost=vhost, port=proxy.port)) as pool,
    ):
        held, tally = Held(), Tally(Publisher(pool, declare=[Queue(queue_name)]))
        with Consumer(pool, queue_name, held, prefetch=5) as consumer:
            for _ in range(10):
                tally.submit(queue_name)
            tally.outcomes()  # a publish without its confirm would be sent again after the reset, and rightly come twice
            old = held.take(5)
            assert all(consumer.is_current(delivery) for delivery in old)
            assert proxy.reset() >= 2
            new = held.take(5)
            assert {delivery.delivery_tag for delivery in old} == {delivery.delivery_tag for delivery in new}

            assert [delivery.ack() for delivery in old] == [False] * 5

            assert not any(consumer.is_current(delivery) for delivery in old)
            assert consumer.status().stale == 5
            assert new[0].ack()
            settled(consumer, 1)
            tally.checker.record_delivery(new[0].message_id or "", new[0].redelivered)
            assert consumer.status().subscriptions == 2
        verdict = tally.verdict(url, queue_name)
        assert (verdict.confirmed, verdict.received) == (10, 10)
        assert verdict.duplicates == 0, "the four that were not acknowledged came once more, and only from the queue"


def test_settlements_after_close_are_dropped(pool: ConnectionPool, vhost_url: str, queue_name: str) -> None:
    """A job that ends after its consumer was closed acks nothing: the message went back to its queue."""
    held, tally = Held(), Tally(Publisher(pool, declare=[Queue(queue_name)]))
    consumer = Consumer(pool, queue_name, held)
    tally.submit(queue_name)
    late = held.take(1)[0]
    consumer.close()
    until(lambda: not consumer.is_current(late), "the end of the consumer")

    assert late.ack() is False

    assert consumer.status().stale == 1
    assert tally.verdict(vhost_url, queue_name).redelivered == 1


def test_double_and_foreign_acks_on_a_lease_are_refused_before_they_are_sent(
    pool: ConnectionPool, vhost_url: str, queue_name: str
) -> None:
    """On a leased channel a tag that it does not hold raises at once; nothing was sent, and the channel goes on."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    for _ in range(3):
        tally.submit(queue_name)
    tally.outcomes()
    with pool.channel() as channel:
        first, second = channel.basic_get(queue_name), channel.basic_get(queue_name)
        assert first is not None
        assert second is not None
        channel.basic_ack(first.delivery_tag)
        for tag in (first.delivery_tag, 99):
            with pytest.raises(LeaseReleasedError, match=rf"basic_ack\({tag}\): this lease holds no unacknowledged"):
                channel.basic_ack(tag)
        with pytest.raises(LeaseReleasedError, match="Nothing was sent"):
            channel.basic_reject(first.delivery_tag)
        assert second.ack()
        assert not second.ack()
        third = channel.basic_get(queue_name)
        assert third is not None
        channel.basic_ack(0, multiple=True)
        with pytest.raises(LeaseReleasedError):
            channel.basic_ack(0, multiple=True)
        assert channel.queue_declare(queue_name, passive=True).message_count == 0
        for delivery in (first, second, third):
            tally.checker.record_delivery(delivery.message_id or "", delivery.redelivered)
    assert not third.ack()
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.received, verdict.duplicates) == (3, 0)
