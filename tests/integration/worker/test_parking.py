"""What cannot be parked is not lost: the dead-letter queue is gone, full, or the broker takes no publishes."""

from rmqpool import Queue
from rmqpool.worker import moving


def test_a_deleted_dead_letter_queue_is_declared_again(bench):
    """And the message is parked in it."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise ValueError("no")

    worker.start()
    with bench.pool.channel() as channel:
        channel.queue_delete("orders.dead")
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().parked == 1)
    assert bench.take("orders.dead").headers["x-rmqpool-reason"] == "exception"
    bench.wait_empty(worker, "orders")


def test_without_a_dead_letter_queue_the_message_stays(bench, caplog):
    """redeclare=False: it is not acknowledged, not lost, and not tried in a hot loop."""
    worker = bench.worker()
    called = []

    @worker.consumer("orders", redeclare=False)
    def handle(order: dict) -> None:
        called.append(1)
        raise ValueError("no")

    worker.start()
    with bench.pool.channel() as channel:
        channel.queue_delete("orders.dead")
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().requeued == 1, timeout=5)
    assert len(called) <= 2
    assert "could not be moved to 'orders.dead', and goes back in 1 s" in caplog.text
    worker.stop()
    bench.wait_count("orders", 1)


def test_what_cannot_be_parked_is_not_given_back_to_a_queue_that_may_drop_it(bench):
    """One without dead letters drops what comes back too often (20 times in RabbitMQ 4): it is held until the copy is safe."""
    full = Queue("orders.dead", type="classic", dead_letter=None, max_length=1, overflow="reject-publish")
    worker = bench.worker(declare=[Queue("orders", dead_letter=None, delivery_limit=0), full])

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise ValueError("no")

    worker.start()
    bench.publisher.publish("orders.dead", {"id": "in the way"})
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().parking_failed == 2)
    bench.take("orders.dead")
    bench.wait(lambda: worker.stats().parked == 1)
    assert bench.take("orders.dead").body == b'{"id":1}'
    assert (worker.stats().failed, worker.stats().requeued) == (1, 0)  # its handler was not asked again


def test_what_could_not_be_parked_by_the_end_goes_back(bench):
    """A worker that stops holds nothing."""
    full = Queue("orders.dead", type="classic", dead_letter=None, max_length=1, overflow="reject-publish")
    worker = bench.worker(declare=[Queue("orders", dead_letter=None), full])

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise ValueError("no")

    worker.start()
    bench.publisher.publish("orders.dead", {"id": "in the way"})
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().parking_failed >= 1)
    assert worker.stop(30)
    bench.wait_count("orders", 1)


def test_when_the_broker_takes_no_publishes_its_own_dead_lettering_is_used(bench_on, private_broker, monkeypatch):
    """A memory alarm blocks the publish connection; rejecting on the consume connection still works."""
    monkeypatch.setattr(moving, "CONFIRM_TIMEOUT", 1.0)
    private_broker.add_vhost("blocked")
    bench = bench_on(private_broker.amqp_url(vhost="blocked"))
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        private_broker.raise_memory_alarm()
        raise ValueError("no")

    worker.start()
    try:
        bench.publisher.publish("orders", {"id": 1})
        bench.wait(lambda: worker.stats().dead_lettered == 1)
    finally:
        private_broker.clear_memory_alarm()
    bench.wait_empty(worker, "orders")
    bodies = {bench.take("orders.dead").body}
    assert bodies == {b'{"id":1}'}
