"""What settling promises: few frames, every delivery its own verdict, on our own wire and on pika's."""

from __future__ import annotations

import os
import queue as queues
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rmqpool import ConnectionPool, Consumer, Delivery, Publisher, Queue
from rmqpool.consumer import BatchConsumer
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]
EVERYTHING = {
    "headers": {"text": "ä", "number": 2**40, "nested": {"list": [1, "two", None]}},
    "content_type": "text/plain",
    "priority": 3,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": 60,
    "message_id": "m",
    "type": "t",
    "app_id": "a",
}


@pytest.fixture(params=["", "pika"], ids=["our wire", "pika's wire"])
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two paths the connections of the test take."""
    monkeypatch.setenv("RMQPOOL_WIRE", request.param)
    return str(request.param)


@pytest.fixture
def proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    """Counts the frames that pass."""
    with FaultProxy((broker.host, broker.port)) as proxy:
        yield proxy


class Inbox:
    """Takes deliveries from the I/O thread."""

    def __init__(self) -> None:
        self.deliveries: queues.SimpleQueue[Delivery] = queues.SimpleQueue()

    def take(self, count: int) -> list[Delivery]:
        return [self.deliveries.get(timeout=10) for _ in range(count)]


def test_both_wires_give_the_same_delivery(wire: str, pool: ConnectionPool, queue: Queue) -> None:
    """With everything that a message can carry, and with nothing."""
    inbox, publisher = Inbox(), Publisher(pool, declare=[queue])
    with Consumer(pool, queue, inbox.deliveries.put) as consumer:
        publisher.publish(queue.name, "body", **EVERYTHING)
        publisher.publish(queue.name, b"")
        full, bare = inbox.take(2)
        connection = consumer._link.connection
        assert connection is not None
        assert connection.fast is (wire == "")
        assert full.body == b"body"
        assert {name: getattr(full, name) for name in EVERYTHING} == EVERYTHING | {"expiration": "60000"}
        assert repr(full.headers["number"]) == "1099511627776"
        assert (full.exchange, full.routing_key, full.queue) == ("", queue.name, queue.name)
        assert (full.consumer_tag, full.delivery_mode) == (bare.consumer_tag, 2)
        assert full.consumer_tag
        assert (bare.body, bare.headers, bare.priority, bare.delivery_tag) == (b"", {}, None, 2)
        assert (full.epoch, full.channel_serial) == (bare.epoch, bare.channel_serial)
        assert full.ack()
        assert bare.ack()


def test_what_is_acknowledged_in_order_is_merged(
    wire: str, proxy: FaultProxy, broker: RabbitMQNode, vhost: str, make_pool: MakePool, queue: Queue
) -> None:
    """A thousand acks are few frames: what was settled while one was being written becomes the next."""
    pool, inbox = make_pool(broker.amqp_url(vhost=vhost, port=proxy.port)), Inbox()
    Publisher(pool, declare=[queue]).publish_many(queue.name, [b"x"] * 1000).raise_for_failures()
    with Consumer(pool, queue, inbox.deliveries.put, prefetch=1000) as consumer:
        deliveries = inbox.take(1000)
        before = proxy.frames("basic.ack", "to_broker")
        assert [delivery.ack() for delivery in deliveries] == [True] * 1000
        wait_until(lambda: consumer.status().settled == 1000, "the settlements", timeout=5)
        assert proxy.frames("basic.ack", "to_broker") - before < 500
        wait_until(lambda: total(broker, vhost, queue) == 0, "an empty queue", timeout=5)


def test_an_open_delivery_is_never_covered(
    wire: str, pool: ConnectionPool, broker: RabbitMQNode, vhost: str, queue: Queue
) -> None:
    """Every other one is acknowledged: exactly those are gone, and the others come again."""
    inbox = Inbox()
    Publisher(pool, declare=[queue]).publish_many(queue.name, [str(n) for n in range(200)]).raise_for_failures()
    with Consumer(pool, queue, inbox.deliveries.put, prefetch=200) as consumer:
        for number, delivery in enumerate(inbox.take(200)):
            assert number % 2 or delivery.ack()
        wait_until(lambda: consumer.status().settled == 100, "the settlements", timeout=5)
        assert consumer.status().outstanding == 100
    with Consumer(pool, queue, inbox.deliveries.put, prefetch=200):
        again = inbox.take(100)
        assert {int(delivery.body) for delivery in again} == set(range(1, 200, 2))
        assert all(delivery.redelivered for delivery in again)


def test_threads_that_settle_in_any_order_settle_each_once(
    wire: str, pool: ConnectionPool, broker: RabbitMQNode, vhost: str, queue: Queue
) -> None:
    """Acked: once. Refused: gone. Requeued: once more. The broker never objects, so the channel is the first one."""
    inbox, chance = Inbox(), random.Random(7)
    verdicts = {n: chance.choice(["ack", "ack", "nack", "reject", "requeue"]) for n in range(1000)}
    Publisher(pool, declare=[queue]).publish_many(queue.name, [str(n) for n in verdicts]).raise_for_failures()
    requeued = sum(verdict == "requeue" for verdict in verdicts.values())
    seen: Counter[int] = Counter()
    with Consumer(pool, queue, inbox.deliveries.put, prefetch=300) as consumer:
        lock = threading.Lock()

        def settle_some() -> None:
            own = random.Random(threading.get_ident())
            while True:
                with lock:
                    if sum(seen.values()) == len(verdicts) + requeued:
                        return
                    batch = []
                    while not inbox.deliveries.empty() and len(batch) < 20:
                        batch.append(inbox.deliveries.get())
                    seen.update(int(delivery.body) for delivery in batch)
                own.shuffle(batch)
                for delivery in batch:
                    assert settle(delivery, verdicts[int(delivery.body)])

        threads = [threading.Thread(target=settle_some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        wait_until(lambda: consumer.status().outstanding == 0, "the settlements", timeout=5)
        status = consumer.status()
        assert (status.settled, status.stale, status.doubled) == (1000 + requeued, 0, 0)
        assert status.subscriptions == 1
    assert seen == {number: 2 if verdict == "requeue" else 1 for number, verdict in verdicts.items()}
    wait_until(lambda: total(broker, vhost, queue) == 0, "an empty queue", timeout=5)


def settle(delivery: Delivery, verdict: str) -> bool:
    """A requeued one is acknowledged when it comes again."""
    if verdict == "ack" or delivery.redelivered:
        return delivery.ack()
    return delivery.reject() if verdict == "reject" else delivery.nack(requeue=verdict == "requeue")


def test_batches_hold_what_came_in_order(pool: ConnectionPool, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """On our wire there are fewer of them than messages; nothing comes twice."""
    monkeypatch.setenv("RMQPOOL_WIRE", "")
    batches: list[list[Delivery]] = []
    Publisher(pool, declare=[queue]).publish_many(queue.name, [str(n) for n in range(500)]).raise_for_failures()
    with BatchConsumer(pool, queue, batches.append, prefetch=500):
        wait_until(lambda: sum(map(len, batches)) == 500, "every message", timeout=5)
    assert [int(delivery.body) for batch in batches for delivery in batch] == list(range(500))
    assert len(batches) < 250


def test_an_error_in_on_deliveries_gives_the_batch_back(
    wire: str, pool: ConnectionPool, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    """It is contained, sys.exit() too, and every message comes again."""
    seen: queues.SimpleQueue[Delivery] = queues.SimpleQueue()

    def fail_once(batch: list[Delivery]) -> None:
        if not batch[0].redelivered:
            raise SystemExit("oops")
        for delivery in batch:
            seen.put(delivery)

    with BatchConsumer(pool, queue, fail_once) as consumer:
        Publisher(pool, declare=[queue]).publish_many(queue.name, [b"x"] * 20).raise_for_failures()
        assert [seen.get(timeout=5).ack() for _ in range(20)] == [True] * 20
        assert consumer.status().subscriptions == 1
    assert "oops" in caplog.text


def total(broker: RabbitMQNode, vhost: str, queue: Queue) -> int:
    """What the broker has in the queue, ready or unacknowledged."""
    (row,) = [row for row in broker.list_queues(vhost) if row["name"] == queue.name]
    return int(row["messages"])


def ready(broker: RabbitMQNode, vhost: str, queue: Queue) -> int:
    """What the broker has in the queue and has sent to nobody."""
    (row,) = [row for row in broker.list_queues(vhost) if row["name"] == queue.name]
    return int(row["messages_ready"])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is what is tested
def test_a_forked_child_settles_nothing(wire: str, pool: ConnectionPool, queue: Queue) -> None:
    """The delivery is the parent's: False in the child, whatever it tries; the parent settles it."""
    inbox = Inbox()
    with Consumer(pool, queue, inbox.deliveries.put) as consumer:
        Publisher(pool, declare=[queue]).publish(queue.name, b"x")
        (delivery,) = inbox.take(1)
        child = os.fork()
        if not child:
            answers: list[Any] = [delivery.ack(), delivery.reject(), consumer.is_current(delivery)]
            os._exit(0 if answers == [False] * 3 and consumer.status().stale == 2 else 1)
        assert exit_code(child) == 0
        assert delivery.ack()
        wait_until(lambda: consumer.status().settled == 1, "the settlement", timeout=5)


def exit_code(child: int) -> int:
    """The child's exit code; it has 10 seconds."""
    try:
        wait_until(
            lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the child's end", timeout=10
        )
    except BaseException:
        os.kill(child, 9)
        raise
    finally:
        status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("ends_by", ["a pause", "a cancel"])
def test_what_is_on_its_way_when_the_subscription_ends_arrives_and_counts_as_no_failure(
    wire: str,
    ends_by: str,
    proxy: FaultProxy,
    broker: RabbitMQNode,
    vhost: str,
    pool: ConnectionPool,
    make_pool: MakePool,
    queue: Queue,
) -> None:
    """The broker had sent it before it heard of the end: it is delivered once, in its order, and can be acknowledged."""
    slow_pool, inbox = make_pool(broker.amqp_url(vhost=vhost, port=proxy.port)), Inbox()
    publisher = Publisher(pool, declare=[queue])
    with Consumer(slow_pool, queue, inbox.deliveries.put, prefetch=20) as consumer:
        consumer.wait_ready(30)
        proxy.stall("from_broker")
        publisher.publish_many(queue.name, [str(n) for n in range(10)]).raise_for_failures()
        wait_until(lambda: ready(broker, vhost, queue) == 0, "all to be sent", timeout=30)
        before = proxy.frames("basic.cancel", "to_broker")
        if ends_by == "a pause":
            consumer.pace(0)
        else:
            assert not consumer.cancel(timeout=0.0)
        proxy.wait_for_frames("basic.cancel", before + 1, timeout=30, direction="to_broker")
        proxy.heal()
        deliveries = [inbox.deliveries.get(timeout=30) for _ in range(10)]
        assert [delivery.body for delivery in deliveries] == [b"%d" % n for n in range(10)]
        assert [delivery.ack() for delivery in deliveries] == [True] * 10
        wait_until(lambda: total(broker, vhost, queue) == 0, "an empty queue", timeout=30)
        assert not any(delivery.redelivered for delivery in deliveries)
