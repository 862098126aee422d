"""The adaptive prefetch against a broker: what it has delivered follows the time of the handlers."""

import logging
import threading
import time

from rmqpool import AdaptivePrefetch


def test_the_brokers_unsettled_messages_follow_the_handlers_time(bench, broker, vhost):
    """Fast handlers have many delivered ahead; when they become slow, few; and nothing is lost or doubled."""
    worker = bench.worker()
    slow, over = threading.Event(), threading.Event()
    handled: list[int] = []

    @worker.consumer("orders", concurrency=2, prefetch=AdaptivePrefetch(maximum=40, ahead=0.1))
    def handle(order: dict) -> None:
        if not over.is_set():
            over.wait(0.1 if slow.is_set() else 0.003)
        handled.append(order["id"])

    def unsettled() -> int:
        return next(row["messages_unacknowledged"] for row in broker.list_queues(vhost) if row["name"] == "orders")

    worker.start()
    assert worker.stats().consumers[0].prefetch == 8
    bench.publisher.publish_many("orders", [{"id": number} for number in range(2000)]).raise_for_failures()
    bench.wait(lambda: unsettled() > 16, "more than twice as many as at the start")
    assert worker.stats().consumers[0].prefetch > 16
    slow.set()
    bench.wait(lambda: unsettled() <= 8, "few again", timeout=20)
    assert worker.stats().consumers[0].prefetch <= 8
    over.set()
    bench.wait(lambda: len(handled) == 2000, "all", timeout=30)
    assert len(set(handled)) == 2000
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_number_stays_as_it_is(bench, caplog):
    """No look at the handlers, no change."""
    worker = bench.worker()

    @worker.consumer("orders", concurrency=2, prefetch=5)
    def handle(order: dict) -> None:
        time.sleep(0.001)

    with caplog.at_level(logging.INFO, "rmqpool"):
        worker.start()
        bench.publisher.publish_many("orders", [{"id": number} for number in range(500)]).raise_for_failures()
        bench.wait(lambda: worker.stats().handled == 500)
    assert worker.stats().consumers[0].prefetch == 5
    assert "instead of" not in caplog.text
