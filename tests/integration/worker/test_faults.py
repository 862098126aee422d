"""The worker goes on through lost connections, deleted queues and closed channels, and says what it counted."""

import threading

import pytest

from rmqpool import Delivery, Publisher, Queue


def test_a_lost_connection_is_opened_again_and_stale_acks_are_dropped(bench_on, private_broker):
    """The handler that ran meanwhile settles nothing; its message comes again; nothing is lost."""
    private_broker.add_vhost("lost")
    bench = bench_on(private_broker.amqp_url(vhost="lost"))
    worker = bench.worker()
    begun, go_on, seen = threading.Event(), threading.Event(), []

    @worker.consumer("orders", concurrency=1, prefetch=20)
    def handle(order: dict, delivery: Delivery) -> None:
        seen.append((order["id"], delivery.redelivered))
        begun.set()
        go_on.wait(10)

    worker.start()
    bench.publisher.publish_many("orders", [{"id": number} for number in range(10)]).raise_for_failures()
    assert begun.wait(5)
    bench.wait(lambda: worker.stats().consumers[0].delivered == 10)
    private_broker.close_all_connections("test")
    bench.wait(lambda: not worker.is_ready)
    bench.wait(lambda: worker.is_ready)
    go_on.set()
    bench.wait(lambda: worker.stats().handled == 11)
    assert {number for number, _ in seen} == set(range(10))
    assert len(seen) == 11  # the one that ran twice; those that had not begun were not begun in vain
    assert worker.stats().stale == 10  # its ack, and nine deliveries of the old channel
    bench.wait_empty(worker, "orders")


def test_nothing_is_lost_when_the_broker_is_killed(bench_on, private_broker):
    """kill -9 in the middle; every confirmed message is handled."""
    private_broker.add_vhost("killed")
    url = private_broker.amqp_url(vhost="killed")
    bench = bench_on(url)
    worker = bench.worker()
    handled: set[int] = set()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        handled.add(order["id"])

    worker.start()
    worker.wait(1.5)  # RabbitMQ writes which quorum queues it has twice a second: one killed before is lost for good
    with Publisher(url) as publisher:
        futures = [publisher.submit("orders", {"id": number}) for number in range(500)]
        private_broker.kill()
        private_broker.start()
        futures += [publisher.submit("orders", {"id": number}) for number in range(500, 600)]
        for future in futures:
            future.result()
    bench.wait(lambda: len(handled) == 600, "every message", timeout=20)
    bench.wait(lambda: worker.is_ready)
    assert worker.stats().parked == 0


def test_a_deleted_queue_is_declared_again_and_consumed(bench, caplog):
    """Deletion is a fault, not an end. RabbitMQ 4 cancels before it deletes, so that the first new attempt may be in vain."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None: ...

    worker.start()
    with bench.pool.channel() as channel:
        channel.queue_delete("orders")
    bench.wait(lambda: worker.is_ready and worker.stats().consumers[0].last_error)
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().handled == 1)
    assert "cancelled the consumer of queue 'orders'" in caplog.text
    assert "queue 'orders'" in worker.stats().consumers[0].last_error


def test_a_parking_queue_of_ones_own_survives_a_deletion(bench):
    """The worker declares <queue>.dead with arguments of its own; both come back as they were declared."""
    worker = bench.worker(declare=[Queue("orders.dead", type="classic", dead_letter=None)])

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise ValueError("no")

    worker.start()
    with bench.pool.channel() as channel:
        channel.queue_delete("orders")
        channel.queue_delete("orders.dead")
    bench.wait(lambda: worker.is_ready and worker.stats().consumers[0].last_error)
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().parked == 1)
    bench.pool.declare([Queue("orders.dead", type="classic", dead_letter=None)])  # the same arguments


def test_a_deleted_queue_stays_deleted_by_configuration(bench):
    """redeclare=False: not ready until somebody declares it."""
    worker = bench.worker()

    @worker.consumer("orders", redeclare=False)
    def handle(order: dict) -> None: ...

    worker.start()
    with bench.pool.channel() as channel:
        channel.queue_delete("orders")
    bench.wait(lambda: not worker.is_ready)
    assert "not ready" in repr(worker)
    bench.pool.declare([Queue("orders")])
    bench.wait(lambda: worker.is_ready)
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().handled == 1)


def test_a_double_ack_of_a_handler_does_not_close_the_channel(bench):
    """Dropped; the broker never sees it (406 otherwise, and everything unacknowledged would come back)."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict, delivery: Delivery) -> None:
        assert delivery.ack()
        assert not delivery.ack()
        assert not delivery.nack()

    worker.start()
    bench.publisher.publish_many("orders", [{"id": number} for number in range(20)]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 20)
    assert worker.stats().consumers[0].last_error == ""
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_closed_channel_is_opened_again(bench_on, url_with):
    """By the broker's consumer timeout here: the message comes again, and the late ack is dropped."""
    bench = bench_on(url_with(consumer_timeout=1000, channel_tick_interval=500))  # a minute otherwise
    worker = bench.worker()
    first = threading.Event()
    closed = threading.Event()

    @worker.consumer("orders", prefetch=1)
    def handle(order: dict, delivery: Delivery) -> None:
        if not first.is_set():
            first.set()
            closed.wait(20)

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().consumers[0].last_error, "the consumer timeout", timeout=20)
    closed.set()
    bench.wait(lambda: worker.stats().handled == 2)
    assert "406" in worker.stats().consumers[0].last_error
    assert worker.stats().stale == 1
    bench.wait_empty(worker, "orders")


@pytest.mark.parametrize("fault", ["memory", "disk"])
def test_an_alarm_does_not_stop_consuming(bench_on, private_broker, fault):
    """Acknowledgements go on; only publishing is blocked."""
    private_broker.add_vhost("alarm")
    bench = bench_on(private_broker.amqp_url(vhost="alarm"))
    worker = bench.worker()
    go_on = threading.Event()

    @worker.consumer("orders", concurrency=2)
    def handle(order: dict) -> None:
        go_on.wait(10)

    worker.start()
    bench.publisher.publish_many("orders", [{"id": number} for number in range(50)]).raise_for_failures()
    getattr(private_broker, f"raise_{fault}_alarm")()
    go_on.set()
    bench.wait(lambda: worker.stats().handled == 50)
    getattr(private_broker, f"clear_{fault}_alarm")()
    bench.wait_empty(worker, "orders")
