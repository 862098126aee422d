"""A message in a batch has what one alone has: retries by its policy, middleware around it, a reply, the timeout guard."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from rmqpool import BatchError, Delivery, Middleware, Reject, RemoteError, RetryPolicy, Skip
from rmqpool.core.ports import BatchInboxPort, InboxPort
from rmqpool.errors import InboxUnavailableError


class Recorder(Middleware):
    """Writes down what it is told, by body."""

    def __init__(self) -> None:
        self.told: dict[str, list[Any]] = {}

    def before_handle(self, delivery: Delivery) -> str:
        body = delivery.body.decode()
        self.told.setdefault(body, []).append("before")
        if body == "4":
            raise Reject("by middleware")
        return body

    def after_handle(self, delivery: Delivery, state: str, result: Any) -> None:
        self.told[state] += ["after", result]
        if state == "5":
            raise ValueError("too late")

    def on_handle_error(self, delivery: Delivery, state: str | None, error: BaseException) -> None:
        self.told[delivery.body.decode()].append(type(error).__name__)


def test_each_message_of_a_batch_is_tried_again_by_the_policy(bench):
    """One that fails comes into later batches, with its own attempts, and is parked after the last; the others are done."""
    worker, attempts = bench.worker(), {}

    policy = RetryPolicy(max_attempts=3, backoff=(0.05, 1), hold=0.1)

    @worker.consumer("orders", batch=4, batch_timeout=0.1, concurrency=1, retry=policy)
    def handle(numbers: list[int], deliveries: list[Delivery]) -> None:
        failures: dict[Delivery | int, BaseException] = {}
        for number, delivery in zip(numbers, deliveries, strict=True):
            attempts.setdefault(number, []).append(delivery.attempt)
            if number == 1 or (number == 2 and delivery.attempt == 1):
                failures[delivery] = ValueError("not yet")
        if failures:
            raise BatchError(failures)

    worker.start()
    bench.publisher.publish_many("orders", [0, 1, 2, 3]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 3 and worker.stats().parked == 1)
    assert attempts == {0: [1], 1: [1, 2, 3], 2: [1, 2], 3: [1]}
    parked = bench.take("orders.dead")
    assert (parked.body, parked.headers["x-rmqpool-attempt"]) == (b"1", 3)
    stats = worker.stats()
    assert (stats.failed, stats.held_back, stats.delayed, stats.requeued) == (4, 2, 1, 0)
    bench.wait_empty(worker, "orders", "orders.retry.1s", "orders.dead")


def test_whoever_asked_hears_that_a_batch_was_handled_or_why_not(bench):
    """The reply holds nothing: what a handler of batches returns belongs to no message."""
    worker = bench.worker()

    @worker.consumer("orders", batch=2, batch_timeout=0.1)
    def handle(numbers: list[int]) -> str:
        bad = {index: Reject("negative") for index, number in enumerate(numbers) if number < 0}
        if bad:
            raise BatchError(bad)
        return "for nobody"

    with worker, ThreadPoolExecutor(2) as callers:
        good, bad = (callers.submit(bench.publisher.call, "orders", number, 10) for number in (1, -1))
        assert good.result(10).body is None
        with pytest.raises(RemoteError, match="rejected:negative"):
            bad.result(10)
        bench.wait(lambda: worker.stats().answered == 1 and worker.stats().parked == 1)
    bench.wait_count("orders", 0)


@pytest.mark.parametrize("is_async", [False, True])
def test_middleware_stands_around_each_message_of_a_batch(bench, is_async):
    """Each hears of its own end; one that middleware rejects, or whose body is bad, is left out."""
    recorder = Recorder()
    worker, got = bench.worker(middleware=[recorder]), []

    def decide(numbers: list[int]) -> None:
        got.append(numbers)
        raise BatchError({1: ValueError("bad"), 2: Skip("old")})

    if is_async:

        @worker.consumer("orders", batch=6, batch_timeout=10)
        async def handle(numbers: list[int]) -> None:
            decide(numbers)
    else:

        @worker.consumer("orders", batch=6, batch_timeout=10)
        def handle(numbers: list[int]) -> None:
            decide(numbers)

    worker.start()
    bench.publisher.publish_many("orders", [1, 2, 3, 4, 5, "six"]).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 4)
    assert got == [[1, 2, 3, 5]]
    assert recorder.told == {
        "1": ["before", "after", None],
        "2": ["before", "ValueError"],
        "3": ["before", "Skip"],
        "4": ["before"],  # its own hook raised: nobody else is there to hear of it
        "5": ["before", "after", None, "ValueError"],
        "six": ["before", "DecodeError"],
    }
    stats = worker.stats()
    assert (stats.handled, stats.skipped, stats.failed, stats.rejected, stats.undecodable) == (1, 1, 2, 1, 1)
    worker.stop()
    bench.wait_count("orders", 0)


def test_middleware_hears_of_a_batch_that_the_worker_cancels(bench):
    """A coroutine that outlives the grace period: each of its messages goes back."""
    recorder = Recorder()
    worker, begun = bench.worker(middleware=[recorder]), threading.Event()

    @worker.consumer("orders", batch=2)
    async def handle(numbers: list[int]) -> None:
        begun.set()
        await asyncio.sleep(30)

    worker.start()
    bench.publisher.publish_many("orders", [1, 2]).raise_for_failures()
    assert begun.wait(10)
    worker.stop(0)
    assert recorder.told == {"1": ["before", "CancelledError"], "2": ["before", "CancelledError"]}
    bench.wait_count("orders", 2)


class Memory:
    """An inbox without a database: it does not answer at first, and knows one message already."""

    is_async = False
    consumer = None

    def __init__(self) -> None:
        self.known = {"known"}
        self.failures = 1

    def open(self, concurrency: int) -> None: ...

    def transaction(self, consumer: str, message_id: str) -> Any:
        raise NotImplementedError

    @contextmanager
    def transaction_for_many(self, consumer: str, message_ids: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise InboxUnavailableError("no database")
        yield None, set(message_ids) - self.known

    def close(self) -> None: ...


def test_middleware_hears_of_what_the_inbox_keeps_from_the_handler(bench):
    """Postpone; and Skip for what is known, or the twin of another. As for a message alone."""
    recorder, inbox = Recorder(), Memory()
    assert isinstance(inbox, InboxPort)
    assert isinstance(inbox, BatchInboxPort)
    worker, got = bench.worker(), []

    @worker.consumer("orders", batch=3, batch_timeout=0.2, inbox=inbox, middleware=[recorder])
    def handle(numbers: list[int]) -> None:
        got.append(numbers)

    worker.start()
    for number, name in ((1, "known"), (2, "new"), (3, "new")):
        bench.publisher.publish("orders", number, message_id=name)
    bench.wait(lambda: worker.stats().handled == 1 and worker.stats().duplicates == 2)
    assert got == [[2]]
    ends = {body: [end for end in told if end != "before"] for body, told in recorder.told.items()}
    assert ends == {"1": ["Postpone", "Skip"], "2": ["Postpone", "after", None], "3": ["Postpone", "Skip"]}
    bench.wait_empty(worker, "orders", "orders.dead")


def test_an_overdue_batch_is_parked_and_what_fills_the_next_one_goes_back(bench, caplog):
    """Each message of the batch that a handler has in hand; nobody has begun with the others."""
    worker, go_on, got = bench.worker(), threading.Event(), []

    @worker.consumer("orders", batch=2, batch_timeout=60, concurrency=1, delivery_timeout=2)
    def handle(numbers: list[int]) -> None:
        got.append(numbers)
        go_on.wait(30)

    with caplog.at_level(logging.ERROR, "rmqpool"):
        worker.start()
        bench.publisher.publish_many("orders", [1, 2, 3]).raise_for_failures()
        bench.wait(lambda: worker.stats().parked == 2 and worker.stats().requeued >= 1)
    assert got == [[1, 2]]
    assert bench.take("orders.dead").headers["x-rmqpool-reason"] == "overdue"
    worker.stop(0)
    go_on.set()
    bench.wait_count("orders", 1)
    bench.wait_count("orders.dead", 1)
