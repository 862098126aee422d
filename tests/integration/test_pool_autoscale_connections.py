"""Publish connections that follow the load: more of them while callers wait for room, fewer after quiet, in the same order."""

from __future__ import annotations

import gc
import queue as queues
import threading
import weakref

import pytest

from rmqpool import Autoscale, ConfigurationError, ConnectionPool, Consumer, Delivery, Publisher, Queue
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

QUICK = Autoscale(minimum=1, maximum=3, patience=0.05, settle=0.2, quiet=1.5)
THREADS = 8


def count(pool: ConnectionPool) -> int:
    """Publish connections that take messages."""
    return len(pool.stats().publish)


def test_they_grow_while_callers_wait_for_room_and_shrink_after_quiet(broker: RabbitMQNode, vhost_url: str) -> None:
    """Nothing is lost or written twice meanwhile, and the messages of each thread keep their order."""
    events: list[str] = []
    most = 0
    arrived: queues.SimpleQueue[Delivery] = queues.SimpleQueue()
    with (
        FaultProxy(("127.0.0.1", broker.port)) as proxy,
        ConnectionPool(
            vhost_url.replace(str(broker.port), str(proxy.port)),
            window=10,
            autoscale_connections=QUICK,
            on_event=lambda event: events.append(f"{event.kind}: {event.sentence}"),
        ) as pool,
        Publisher(pool, declare=[Queue("numbers")]) as publisher,
    ):
        publisher.publish("numbers", b"begin")
        proxy.latency(0.1)
        enough = threading.Event()
        sent: dict[int, int] = {}

        def publish(thread: int) -> None:
            futures = []
            while not enough.is_set():
                futures.append(publisher.submit("numbers", f"{thread} {len(futures)}".encode(), timeout=60))
            assert {future.result().attempts for future in futures} == {1}
            sent[thread] = len(futures)

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: count(pool) == 3, "three connections", timeout=60)
        finally:
            enough.set()
            for thread in threads:
                thread.join(60)
        proxy.heal()
        wait_until(lambda: count(pool) == 1, "one connection", timeout=60)
        publisher.publish("numbers", b"end")
        most = sum(sent.values())
        with Consumer(pool, "numbers", arrived.put, prefetch=most + 2):
            bodies = [arrived.get(timeout=30).body for _ in range(most + 2)]
    assert len(sent) == THREADS
    assert (bodies[0], bodies[-1]) == (b"begin", b"end")
    for number in range(THREADS):
        mine = [body for body in bodies[1:-1] if body.startswith(b"%d " % number)]
        assert mine == [b"%d %d" % (number, serial) for serial in range(sent[number])]
    resized = [one for one in events if one.startswith("resized: publish connections: ")]
    assert "callers wait, the longest for" in resized[0]
    assert "were in use: from" in resized[-1]


def test_a_resize_by_hand_counts_within_the_bounds(vhost_url: str) -> None:
    """And so does the size at the beginning; channels are another matter."""
    with ConnectionPool(vhost_url, publish_connections=7, autoscale_connections=QUICK) as pool:
        assert count(pool) == 3
        pool.resize(channels_per_connection=4)
        assert count(pool) == 3
        pool.resize(publish_connections=2)
        assert count(pool) == 2
        pool.resize(publish_connections=5)
        wait_until(lambda: count(pool) == 3, "the maximum", timeout=60)


def test_a_pool_that_is_dropped_is_noticed(vhost_url: str) -> None:
    """Whoever looks at it from time to time does not keep it."""
    pools = [ConnectionPool(vhost_url, autoscale_connections=QUICK)]
    pools[0].open()

    def drop() -> None:
        gone = weakref.ref(pools.pop())
        wait_until(lambda: (gc.collect(), gone() is None)[1], "the end of the pool", timeout=60)

    with pytest.warns(ResourceWarning, match="dropped without close"):
        drop()


def test_what_is_no_policy_is_refused() -> None:
    """With the words to write instead."""
    with pytest.raises(ConfigurationError, match="autoscale_connections is 3; give Autoscale"):
        ConnectionPool(autoscale_connections=3)  # type: ignore[arg-type]
