"""Stopping in good order: what runs may finish, the rest goes back, nothing is lost, everything ends in time."""

import asyncio
import threading
from collections import Counter

import pytest

from rmqpool import Retry


def test_running_handlers_finish_and_the_rest_goes_back(bench, seconds):
    """Finished ones are acknowledged; those not begun are requeued at once, for other workers."""
    worker = bench.worker()
    begun, go_on = threading.Event(), threading.Event()

    @worker.consumer("orders", concurrency=1, prefetch=10)
    def handle(order: dict) -> None:
        begun.set()
        go_on.wait(10)

    worker.start()
    bench.publisher.publish_many("orders", [{"id": number} for number in range(10)]).raise_for_failures()
    bench.wait(lambda: worker.stats().consumers[0].delivered == 10)
    assert begun.wait(5)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    bench.wait_count("orders", 9)
    assert worker.stats().state == "stopping"
    go_on.set()
    stopper.join(10)
    stats = worker.stats()
    assert (stats.state, stats.handled, stats.requeued, stats.abandoned) == ("stopped", 1, 9, 0)
    assert bench.count("orders") == 9
    assert seconds() < 10


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_handler_that_outlives_the_grace_period_is_abandoned(bench, kind, seconds):
    """Counted; its message comes back, and whatever it does later is ignored."""
    worker = bench.worker()
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    if kind == "sync":

        @worker.consumer("orders")
        def handle(order: dict) -> None:
            begun.set()
            go_on.wait(20)
            ended.set()
            raise ValueError("too late to be parked")

    else:

        @worker.consumer("orders")
        async def handle_later(order: dict) -> None:
            begun.set()
            try:
                await asyncio.sleep(20)
            finally:
                ended.set()

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    assert begun.wait(5)
    assert worker.stop(grace=0.2) is False
    assert worker.stats().abandoned == 1
    assert seconds() < 5
    bench.wait_count("orders", 1)
    go_on.set()
    assert ended.wait(5)
    assert worker.stats().parked == 0
    assert bench.count("orders.dead") == 0


def test_a_failure_during_the_stop_is_still_parked(bench):
    """Within the grace period."""
    worker = bench.worker()
    begun, go_on = threading.Event(), threading.Event()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        begun.set()
        go_on.wait(10)
        raise ValueError("late")

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    assert begun.wait(5)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    bench.wait(lambda: worker.stats().state == "stopping")
    go_on.set()
    stopper.join(10)
    assert worker.stats().parked == 1
    assert (bench.count("orders"), bench.count("orders.dead")) == (0, 1)


def test_messages_held_back_for_a_retry_go_back_at_once(bench, seconds):
    """Nobody waits a minute for them."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise Retry(delay=60)

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().retried == 1)
    assert worker.stop()
    assert bench.count("orders") == 1
    assert seconds() < 5


def test_stop_ends_in_time_when_the_broker_does_not_answer(bench_on, private_broker, seconds):
    """A broker that is suspended (SIGSTOP) answers neither cancel nor close."""
    private_broker.add_vhost("suspended")
    bench = bench_on(private_broker.amqp_url(vhost="suspended"))
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None: ...

    worker.start()
    started = seconds()
    private_broker.pause()
    try:
        worker.stop(grace=0)
        assert worker.stats().state == "stopped"
        assert seconds() - started < 15
    finally:
        private_broker.resume()


def test_what_many_handlers_finish_during_the_stop_is_handled_once(bench):
    """Acknowledged out of order, right before the end, after much went back: RabbitMQ forgets none of it."""
    handled, rounds = Counter(), 5
    for turn in range(rounds):
        worker, running, go_on = bench.worker(), threading.Semaphore(0), threading.Event()

        @worker.consumer(f"orders.{turn}", concurrency=64)
        def handle(number: int, running=running, go_on=go_on) -> None:
            running.release()
            go_on.wait(30)
            handled[number] += 1

        worker.start()
        numbers = range(1000 * turn, 1000 * turn + 320)
        bench.publisher.publish_many(f"orders.{turn}", numbers).raise_for_failures()
        assert all(running.acquire(timeout=30) for _ in range(64))
        stopping = threading.Thread(target=worker.stop)
        stopping.start()
        bench.wait(lambda worker=worker: worker.stats().requeued >= 64, timeout=30)
        go_on.set()
        stopping.join(30)
        worker.start(timeout=30)
        bench.wait(lambda turn=turn: sum(number // 1000 == turn for number in handled) == 320, timeout=30)
        bench.wait_empty(worker, f"orders.{turn}")
    assert {number: times for number, times in handled.items() if times > 1} == {}


def test_no_thread_is_left(bench):
    """Neither of the pool nor of the worker, with both kinds of handlers and something parked."""
    before = {thread.name for thread in threading.enumerate()}
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise ValueError("parked")

    @worker.consumer("bills")
    async def handle_bill(bill: dict) -> None: ...

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.publisher.publish("bills", {"id": 1})
    bench.wait(lambda: worker.stats().parked == 1 and worker.stats().handled == 1)
    worker.stop()
    left = {thread.name for thread in threading.enumerate()} - before
    assert [name for name in left if "tested" in name] == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_burst_ends_when_the_queues_are_empty(bench, kind, seconds):
    """Everything is handled, also what was retried and what was parked; then run() returns 0."""
    worker = bench.worker()
    handled = []

    def handle(order: dict) -> None:
        if order["id"] == 5:
            raise ValueError("parked")
        if order["id"] == 6 and order["id"] not in handled:
            handled.append(6)
            raise Retry(delay=0.3)
        handled.append(order["id"])

    async def handle_later(order: dict) -> None:
        handle(order)

    worker.consumer("orders")(handle if kind == "sync" else handle_later)
    assert worker.run(burst=True) == 0  # an empty queue: over at once
    bench.publisher.publish_many("orders", [{"id": number} for number in range(300)]).raise_for_failures()
    assert worker.run(burst=True) == 0
    assert sorted(set(handled)) == [number for number in range(300) if number != 5]
    assert (worker.stats().handled, worker.stats().parked, worker.stats().retried) == (299, 1, 1)
    assert (bench.count("orders"), bench.count("orders.dead")) == (0, 1)
    assert seconds() < 20


def test_what_fails_at_the_end_keeps_no_connection_open(bench, connections):
    """A service that raises when it is stopped is told of, and everything after it is closed all the same."""

    class Broken:
        name = "the broken service"
        failure = None

        def start(self) -> None: ...

        def stop(self, timeout: float) -> bool:
            raise OSError("it is gone")

    worker = bench.worker()
    worker.consumer("orders")(lambda body: None)
    worker.add_service(Broken())
    worker.start()
    bench.pool.close()
    assert worker.stop()
    bench.wait(lambda: not connections(), "the end of all connections", timeout=30)
