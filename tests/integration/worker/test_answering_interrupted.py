"""Answering while a worker stops, or somebody is gone: each request is answered once, by whoever is there."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rmqpool import ConnectionPool, Publisher, ReplyTimeoutError
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.integration.worker.conftest import Bench


def test_a_worker_that_is_stopped_finishes_and_answers_what_it_has_begun(bench: Bench) -> None:
    """What it has not begun goes back, and is answered by the next one."""
    begun, finish = threading.Event(), threading.Event()

    def serve(worker: Any) -> None:
        @worker.consumer("stopped", concurrency=1, prefetch=2)
        def handle(body: str) -> str:
            begun.set()
            assert finish.wait(10)
            return f"{body} by {worker.name}"

    first, second = bench.worker("first"), bench.worker("second")
    serve(first)
    serve(second)
    first.start()
    results: dict[str, Any] = {}

    def ask(body: str) -> None:
        results[body] = bench.publisher.call("stopped", body, timeout=20).body

    threads = [threading.Thread(target=ask, args=("one",))]
    threads[0].start()
    assert begun.wait(10)
    threads.append(threading.Thread(target=ask, args=("two",)))
    threads[1].start()
    bench.wait(lambda: first.stats().consumers[0].waiting == 1)
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    bench.wait(lambda: first.stats().requeued == 1)
    finish.set()
    stopping.join(10)
    with second:
        for thread in threads:
            thread.join(10)
    assert results == {"one": "one by first", "two": "two by second"}


def test_a_request_whose_worker_is_gone_is_answered_by_the_next_one(bench: Bench) -> None:
    """An abandoned handler does not answer: its message comes again."""
    blocked = threading.Event()
    first, second = bench.worker("first"), bench.worker("second")

    @first.consumer("abandoned")
    def stuck(body: int) -> str:
        blocked.wait(20)
        return "too late"

    @second.consumer("abandoned")
    def handle(body: int) -> str:
        return "second"

    first.start()
    results: list[Any] = []
    caller = threading.Thread(target=lambda: results.append(bench.publisher.call("abandoned", 1, timeout=20).body))
    caller.start()
    bench.wait(lambda: first.stats().in_progress == 1)
    assert not first.stop(0.1)
    with second:
        caller.join(10)
    blocked.set()
    assert results == ["second"]


def test_a_request_whose_caller_is_gone_is_acknowledged(bench: Bench) -> None:
    """Its connection, and the address of the reply with it: that is no failure."""
    worker = bench.worker()
    gone = threading.Event()

    @worker.consumer("gone")
    def handle(body: int) -> int:
        assert gone.wait(10)
        return body

    with worker:
        caller = Publisher(bench.url)
        with pytest.raises(ReplyTimeoutError):
            caller.call("gone", 1, timeout=0.5)
        caller.close()
        gone.set()
        bench.wait(lambda: worker.stats().answered == 1)
    bench.wait_empty(worker, "gone", "gone.dead")


def test_a_request_is_answered_although_the_workers_connections_are_lost_meanwhile(
    bench: Bench, broker: RabbitMQNode, vhost: str
) -> None:
    """The message comes again, is handled again, and its one caller gets one reply."""
    worker = bench.worker()
    begun, go_on = threading.Event(), threading.Event()
    bench.publisher = Publisher(ConnectionPool(bench.url, name="caller"))

    @worker.consumer("cut")
    def handle(body: int) -> int:
        begun.set()
        assert go_on.wait(10)
        return body

    with worker, bench.publisher.pool:
        results: list[Any] = []
        caller = threading.Thread(target=lambda: results.append(bench.publisher.call("cut", 5, timeout=20).body))
        caller.start()
        assert begun.wait(10)
        for row in broker.list_connections():
            if row["vhost"] == vhost and "caller" not in (row["user_provided_name"] or ""):
                broker.close_connection(row["name"])
        bench.wait(lambda: not worker.is_ready)
        go_on.set()
        caller.join(20)
        assert results == [5]
        assert bench.publisher.pool.stats().late_replies == 0
        bench.wait(lambda: worker.stats().answered == 1)
    assert (worker.stats().handled, worker.stats().stale) == (2, 1)
