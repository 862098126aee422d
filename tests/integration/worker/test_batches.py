"""Handlers of batches: full or in time, every message settled by itself, nothing lost at a stop."""

import asyncio
import threading
import time
from dataclasses import dataclass

import pytest

from rmqpool import BatchError, Delivery, Queue, Reject, Retry
from rmqpool.errors import ConfigurationError
from rmqpool.topology import expand


@dataclass
class Order:
    """A body."""

    id: int


def bodies(count, start=0):
    """As many orders."""
    return [{"id": number} for number in range(start, start + count)]


def test_batches_are_full_typed_and_in_order(bench):
    """All messages are there before the worker, so every batch is full; each is acknowledged."""
    worker, batches = bench.worker(declare=[Queue("orders")]), []

    @worker.consumer("orders", batch=50, batch_timeout=30, concurrency=1)
    def handle(orders: list[Order], deliveries: list[Delivery]) -> None:
        assert [delivery.queue for delivery in deliveries] == ["orders"] * len(orders)
        batches.append([order.id for order in orders])

    worker.start()
    bench.publisher.publish_many("orders", bodies(500)).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 500)
    assert [len(batch) for batch in batches] == [50] * 10
    assert [order for batch in batches for order in batch] == list(range(500))
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_batch_that_is_not_full_is_handed_over_in_time(bench):
    """The time counts from its first message."""
    worker, got = bench.worker(), []

    @worker.consumer("orders", batch=100, batch_timeout=0.5)
    def handle(orders: list[Order]) -> None:
        got.append((len(orders), time.monotonic()))

    worker.start()
    start = time.monotonic()
    bench.publisher.publish_many("orders", bodies(3)).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 3)
    assert got[0][0] == 3
    assert 0.45 <= got[0][1] - start < 1.5
    bench.wait_empty(worker, "orders")


def test_coroutines_get_batches_too(bench):
    """As many batches at once as concurrency says; bytes are the bodies as they are."""
    worker, running, most, got = bench.worker(), 0, 0, []

    @worker.consumer("orders", batch=10, concurrency=2)
    async def handle(raw: list[bytes]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        got.extend(raw)
        running -= 1

    worker.start()
    bench.publisher.publish_many("orders", [b"%d" % number for number in range(95)]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 95)
    assert sorted(map(int, got)) == list(range(95))
    assert most == 2
    bench.wait_empty(worker, "orders")


@pytest.mark.parametrize("is_async", [False, True])
def test_those_that_are_named_are_settled_so_and_the_others_acknowledged(bench, is_async):
    """By index, or by delivery; a verdict, or any exception."""
    worker, calls = bench.worker(), []

    def decide(orders, deliveries):
        calls.append([order.id for order in orders])
        if orders[0].id == 0 and len(orders) == 5:
            raise BatchError({1: Reject("odd"), deliveries[2]: Retry(delay=0), -1: ValueError("last")})

    if is_async:

        @worker.consumer("orders", batch=5, batch_timeout=0.3, concurrency=1)
        async def handle(orders: list[Order], deliveries: list[Delivery]) -> None:
            decide(orders, deliveries)
    else:

        @worker.consumer("orders", batch=5, batch_timeout=0.3, concurrency=1)
        def handle(orders: list[Order], deliveries: list[Delivery]) -> None:
            decide(orders, deliveries)

    worker.start()
    bench.publisher.publish_many("orders", bodies(5)).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 3 and worker.stats().parked == 2)
    assert calls == [[0, 1, 2, 3, 4], [2]]
    parked = [bench.take("orders.dead") for _ in range(2)]
    assert {(one.body, one.headers["x-rmqpool-reason"]) for one in parked} == {
        (b'{"id":1}', "rejected:odd"),
        (b'{"id":4}', "exception"),
    }
    stats = worker.stats()
    assert (stats.rejected, stats.retried, stats.failed, stats.requeued) == (1, 1, 1, 1)
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_batch_that_fails_parks_each_message_by_itself(bench, caplog):
    """With one traceback in the log, and one in each parked message."""
    worker = bench.worker()

    @worker.consumer("orders", batch=20, batch_timeout=30)
    def handle(orders: list[Order]) -> None:
        raise RuntimeError("the database is full")

    worker.start()
    bench.publisher.publish_many("orders", bodies(20)).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 20)
    parked = [bench.take("orders.dead") for _ in range(20)]
    assert {one.headers["x-rmqpool-exception-message"] for one in parked} == {"the database is full"}
    assert len({one.message_id for one in parked}) == 20
    assert all("Traceback" in one.headers["x-rmqpool-exception-traceback"] for one in parked)
    assert sum("Traceback" in record.getMessage() for record in caplog.records) == 1
    assert "failed on all 20 messages of that batch" in caplog.text
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_batch_that_fails_goes_back_if_asked(bench):
    """on_error='requeue': each counts its own attempts."""
    worker, attempts = bench.worker(), []

    @worker.consumer("orders", batch=5, batch_timeout=0.2, on_error="requeue")
    def handle(deliveries: list[Delivery]) -> None:
        attempts.extend(delivery.attempt for delivery in deliveries)
        if any(delivery.attempt == 1 for delivery in deliveries):
            raise RuntimeError("not yet")

    worker.start()
    bench.publisher.publish_many("orders", bodies(5)).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 5)
    assert sorted(attempts) == [1] * 5 + [2] * 5
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_wrong_name_in_a_batch_error_fails_the_batch(bench):
    """Nothing is acknowledged on the strength of a mistake; the parked messages tell it."""
    worker = bench.worker()

    @worker.consumer("orders", batch=3)
    def handle(orders: list[Order]) -> None:
        raise BatchError({7: Reject("who?")})

    worker.start()
    bench.publisher.publish_many("orders", bodies(3)).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 3)
    assert "names 7, which is not in its batch" in bench.take("orders.dead").headers["x-rmqpool-exception-message"]
    worker.stop()


def test_a_body_that_cannot_be_decoded_is_parked_alone(bench):
    """The handler gets the others."""
    worker, got = bench.worker(), []

    @worker.consumer("orders", batch=5, batch_timeout=0.3)
    def handle(orders: list[Order]) -> None:
        got.extend(order.id for order in orders)

    worker.start()
    bench.publisher.publish_many("orders", [{"id": 0}, {"id": "none"}, {"id": 2}]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 2 and worker.stats().parked == 1)
    assert got == [0, 2]
    assert bench.take("orders.dead").headers["x-rmqpool-reason"] == "decode:validation"
    bench.wait_empty(worker, "orders", "orders.dead")


def test_by_hand_each_delivery_is_settled_by_the_handler(bench):
    """ack='manual': one that is left is counted, and goes back when the worker stops."""
    worker = bench.worker()

    @worker.consumer("orders", batch=3, batch_timeout=0.3, ack="manual")
    def handle(deliveries: list[Delivery]) -> None:
        deliveries[0].ack()
        deliveries[1].nack(requeue=False)

    worker.start()
    bench.publisher.publish_many("orders", bodies(3)).raise_for_failures()
    bench.wait(lambda: worker.stats().unsettled == 1)
    worker.stop()
    bench.wait_count("orders", 1)
    bench.wait_count("orders.dead", 1)


def test_a_stop_gives_back_what_was_not_begun(bench):
    """Those that are collected, and those that are ready behind the running batch, which may end."""
    worker, begun, go_on = bench.worker(), threading.Event(), threading.Event()

    @worker.consumer("orders", batch=4, batch_timeout=60, concurrency=1, prefetch=100)
    def handle(orders: list[Order]) -> None:
        begun.set()
        go_on.wait(10)

    worker.start()
    bench.publisher.publish_many("orders", bodies(10)).raise_for_failures()
    assert begun.wait(10)
    bench.wait(lambda: worker.stats().consumers[0].waiting == 6)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    bench.wait_count("orders", 6)
    go_on.set()
    stopping.join(10)
    stats = worker.stats()
    assert (stats.handled, stats.requeued, stats.abandoned) == (4, 6, 0)
    bench.wait_count("orders", 6)


def test_what_became_stale_is_left_out(bench_on, private_broker):
    """A lost connection takes its messages along: the handler gets those that waited once, when they come again."""
    private_broker.add_vhost("batches")
    bench = bench_on(private_broker.amqp_url(vhost="batches"))
    worker, got, begun, go_on = bench.worker(), [], threading.Event(), threading.Event()

    @worker.consumer("orders", batch=2, batch_timeout=0.2, concurrency=1, prefetch=20)
    def handle(orders: list[Order]) -> None:
        got.extend(order.id for order in orders)
        begun.set()
        go_on.wait(10)

    worker.start()
    bench.publisher.publish_many("orders", bodies(9)).raise_for_failures()
    assert begun.wait(10)
    bench.wait(lambda: worker.stats().consumers[0].delivered == 9)
    in_hand = len(got)
    private_broker.close_all_connections("test")
    bench.wait(lambda: not worker.is_ready)
    bench.wait(lambda: worker.is_ready)
    go_on.set()
    bench.wait(lambda: worker.stats().handled == 9 + in_hand)
    assert set(got) == set(range(9))
    assert len(got) == 9 + in_hand  # only the batch that ran was handled twice
    assert worker.stats().stale == 9
    bench.wait_empty(worker, "orders")


def test_a_burst_handles_batches_that_are_not_full(bench):
    """It ends when all are handled."""
    worker, got = bench.worker(declare=[Queue("orders")]), []

    @worker.consumer("orders", batch=8, batch_timeout=0.2)
    def handle(orders: list[Order]) -> None:
        got.extend(order.id for order in orders)

    bench.pool.declare_once(expand([Queue("orders")]), 10)
    bench.publisher.publish_many("orders", bodies(20)).raise_for_failures()
    assert worker.run(burst=True) == 0
    assert sorted(got) == list(range(20))
    bench.wait_count("orders", 0)


def test_no_batch_that_cannot_be_filled(bench):
    """A prefetch below the batch is refused, also from the command line; the default makes room for two batches each."""
    worker = bench.worker()

    @worker.consumer("orders", batch=500)
    def handle(orders: list[Order]) -> None: ...

    assert worker.consumers[0].messages_ahead == 2000
    with pytest.raises(ConfigurationError, match="prefetch of at least 500"):
        worker.start(prefetch=100)
    with pytest.raises(ConfigurationError, match="would never hand over enough"):
        worker.consumer("others", batch=50, prefetch=49)(lambda orders: None)
    with pytest.raises(ConfigurationError, match="batches and an adaptive prefetch"):
        worker.consumer("others", batch=50, prefetch="adaptive")(lambda orders: None)
