"""A worker handles messages: typed, concurrent, acknowledged after the handler returned."""

import asyncio
import threading
from dataclasses import dataclass

from rmqpool import Delivery, Queue


@dataclass
class Order:
    """A body."""

    id: int


def test_a_message_is_handled_and_acknowledged(bench):
    """The queue is declared by the worker, and empty afterwards."""
    got = []
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: Order, delivery: Delivery) -> None:
        got.append((order, delivery.message_id))

    worker.start()
    confirmation = bench.publisher.publish("orders", {"id": 7})
    bench.wait(lambda: worker.stats().handled == 1)
    assert got == [(Order(7), confirmation.message_id)]
    bench.wait_empty(worker, "orders", "orders.dead")


def test_coroutines_work_the_same(bench):
    """As many at once as concurrency says, on one event loop that is not the I/O thread."""
    worker = bench.worker()
    running, most, threads = 0, 0, set()

    @worker.consumer("orders", concurrency=3)
    async def handle(order: Order) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        threads.add(threading.current_thread().name)
        await asyncio.sleep(0.02)
        running -= 1

    worker.start()
    bench.publisher.publish_many("orders", [{"id": number} for number in range(30)]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 30)
    assert most == 3
    assert threads == {"rmqpool tested loop"}
    bench.wait_empty(worker, "orders")


def test_functions_run_on_threads_of_the_consumer(bench):
    """All of the concurrency is used, never more, never the I/O thread."""
    worker = bench.worker()
    together = threading.Barrier(4)
    threads = set()

    @worker.consumer("orders", concurrency=4)
    def handle(order: Order) -> None:
        threads.add(threading.current_thread().name)
        together.wait(5)

    worker.start()
    bench.publisher.publish_many("orders", [{"id": number} for number in range(40)]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 40)
    assert threads == {f"rmqpool tested orders {number}" for number in (1, 2, 3, 4)}
    assert worker.stats().failed == 0


def test_no_more_threads_than_needed(bench):
    """One message after the other needs one thread."""
    worker = bench.worker()

    @worker.consumer("orders", concurrency=50)
    def handle(order: Order) -> None: ...

    worker.start()
    for number in range(10):
        bench.publisher.publish("orders", {"id": number})
        bench.wait(lambda done=number + 1: worker.stats().handled == done and worker.stats().in_progress == 0)
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("rmqpool tested orders")]
    assert len(mine) <= 2  # the second when a message came before the thread had said that it was free


def test_a_slow_handler_does_not_stop_heartbeats(bench_on, broker, vhost):
    """The broker gives a silent client up after two heartbeats; the handler sleeps through four."""
    bench = bench_on(broker.amqp_url(vhost=vhost) + "?heartbeat=1")
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: Order) -> None:
        threading.Event().wait(4.2)

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().handled == 1)
    stats = worker.stats()
    assert (stats.stale, stats.consumers[0].delivered) == (0, 1)


def test_the_decorated_function_can_be_called(bench):
    """Users' own unit tests."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: Order) -> int:
        return order.id * 2

    assert handle(Order(4)) == 8


def test_several_queues_and_kinds_in_one_worker(bench):
    """Each with its own handler and figures; queues= chooses."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: Order) -> None: ...

    @worker.consumer("bills")
    async def handle_bill(bill: dict) -> None: ...

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.publisher.publish("bills", {"id": 1})
    bench.wait(lambda: worker.stats().handled == 2 and worker.stats().in_progress == 0)
    assert [(one.queue, one.handled, one.ready) for one in worker.stats().consumers] == [
        ("orders", 1, True),
        ("bills", 1, True),
    ]
    assert worker.is_ready
    assert repr(worker) == "<Worker 'tested' running on orders, bills: 2 handled, 0 parked, 0 in progress>"
    assert worker.stop()
    worker.start(queues=["bills"])
    assert [one.queue for one in worker.stats().consumers] == ["bills"]


def test_a_manual_handler_settles_itself(bench):
    """ack, nack and reject by hand."""
    worker = bench.worker()

    @worker.consumer("orders", ack="manual")
    def handle(order: Order, delivery: Delivery) -> None:
        if order.id == 1:
            delivery.ack()
        elif order.id == 2:
            delivery.reject(requeue=False)
        elif not delivery.redelivered:
            delivery.nack()
        else:
            delivery.ack()

    worker.start()
    bench.publisher.publish_many("orders", [{"id": number} for number in (1, 2, 3)]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 4)
    assert worker.stats().unsettled == 0
    bench.wait_count("orders.dead", 1)
    bench.wait_empty(worker, "orders")


def test_a_manual_handler_that_forgets_is_counted(bench, caplog):
    """With one warning; the message comes back when the worker stops."""
    worker = bench.worker()

    @worker.consumer("orders", ack="manual")
    def handle(order: Order, delivery: Delivery) -> None: ...

    worker.start()
    bench.publisher.publish_many("orders", [{"id": 1}, {"id": 2}]).raise_for_failures()
    bench.wait(lambda: worker.stats().unsettled == 2)
    assert len([record for record in caplog.records if "without settling" in record.message]) == 1
    worker.stop()
    bench.wait_count("orders", 2)


def test_a_handler_may_ack_early(bench):
    """The worker does not settle it a second time, also when it fails afterwards."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: Order, delivery: Delivery) -> None:
        delivery.ack()
        if order.id == 2:
            raise ValueError("after the ack")

    worker.start()
    bench.publisher.publish_many("orders", [{"id": 1}, {"id": 2}]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled + worker.stats().failed == 2)
    bench.wait_empty(worker, "orders", "orders.dead")
    assert worker.stats().stale == 0


def test_a_queue_of_another_kind_works(bench):
    """Classic, with the arguments that its Queue gives."""
    worker = bench.worker(declare=[Queue("orders", type="classic", max_length=10)])

    @worker.consumer("orders")
    def handle(order: Order) -> None: ...

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().handled == 1)


def test_a_priority_that_is_ignored_is_a_warning(bench, caplog):
    """Once; quorum queues of RabbitMQ 3 know no priorities."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: Order) -> None: ...

    @worker.consumer(Queue("urgent", type="classic", max_priority=9))
    def handle_urgent(order: Order) -> None: ...

    worker.start()
    for queue in ("orders", "orders", "urgent"):
        bench.publisher.publish(queue, {"id": 1}, priority=5)
    bench.wait(lambda: worker.stats().handled == 3)
    warned = [record.message for record in caplog.records if "carry a priority" in record.message]
    assert len(warned) == (1 if (bench.pool.broker_generation or 0) < 4 else 0)
    assert "urgent" not in str(warned)
