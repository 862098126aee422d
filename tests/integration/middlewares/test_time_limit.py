"""A limit for the time of a handling: a coroutine is cancelled, a thread is reported and goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from rmqpool import ConfigurationError, RetryPolicy, TimeLimitExceededError, headers
from rmqpool.middlewares import TimeLimit
from tests.integration.worker.conftest import Bench


def test_a_coroutine_that_takes_too_long_is_cancelled_and_its_message_fails(bench: Bench) -> None:
    """Its clean-up runs; the others are not disturbed."""
    cleaned: list[int] = []
    limit = TimeLimit(0.2)
    worker = bench.worker(middleware=[limit])

    @worker.consumer("orders")
    async def handle(number: int) -> None:
        try:
            await asyncio.sleep(60 if number == 1 else 0)
        finally:
            cleaned.append(number)

    worker.start()
    bench.publisher.publish_many("orders", range(4)).raise_for_failures()
    parked = bench.take("orders.dead")
    assert parked.body == b"1"
    assert parked.headers[headers.EXCEPTION_TYPE] == "rmqpool.errors.TimeLimitExceededError"
    assert "0.2 s" in parked.headers[headers.EXCEPTION_MESSAGE]
    bench.wait(lambda: worker.stats().handled == 3)
    assert sorted(cleaned) == [0, 1, 2, 3]
    assert limit.exceeded == 1


def test_a_retry_policy_may_try_it_again(bench: Bench) -> None:
    """It is an exception as any other."""
    attempts: list[int] = []
    worker = bench.worker(middleware=[TimeLimit(0.2)])

    @worker.consumer("orders", retry=RetryPolicy(backoff=0.05, on=TimeLimitExceededError))
    async def handle(number: int) -> None:
        attempts.append(number)
        await asyncio.sleep(60 if len(attempts) == 1 else 0)

    worker.start()
    bench.publisher.publish("orders", 7)
    bench.wait(lambda: worker.stats().handled == 1)
    assert attempts == [7, 7]
    assert worker.stats().failed == 1


def test_a_handler_that_the_worker_itself_cancels_did_not_exceed_anything(bench: Bench) -> None:
    """Its message goes back to the queue, and is not parked."""
    worker = bench.worker(middleware=[TimeLimit(60)])
    begun = threading.Event()

    @worker.consumer("orders")
    async def handle(number: int) -> None:
        begun.set()
        await asyncio.sleep(60)

    worker.start()
    bench.publisher.publish("orders", 1)
    assert begun.wait(5)
    worker.stop(0.1)
    bench.wait_count("orders", 1)
    assert worker.stats().parked == worker.stats().failed == 0


def test_a_handler_may_catch_the_cancellation_and_end_in_good_order(bench: Bench) -> None:
    """What it makes of it counts: it returned."""
    worker = bench.worker(middleware=[TimeLimit(0.1)])

    @worker.consumer("orders")
    async def handle(number: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: worker.stats().handled == 1)
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_thread_that_takes_too_long_is_reported_and_goes_on(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """With the line where it is, once; its message is acknowledged when it returns. The watching thread ends."""
    go_on = threading.Event()
    limit = TimeLimit(0.1)
    worker = bench.worker(middleware=[limit])

    @worker.consumer("orders")
    def handle(number: int) -> None:
        if number == 1:
            wait_for_the_disk(go_on)

    with caplog.at_level(logging.WARNING, "rmqpool"):
        worker.start()
        bench.publisher.publish("orders", 1, message_id="slow")
        bench.publisher.publish("orders", 2)
        bench.wait(lambda: "goes on here" in caplog.text)
        bench.wait(lambda: worker.stats().handled == 1)
        go_on.set()
        bench.wait(lambda: worker.stats().handled == 2)
    reports = [record.getMessage() for record in caplog.records if "goes on here" in record.getMessage()]
    assert len(reports) == 1
    assert "message slow of queue orders" in reports[0].replace("'", "")
    assert "wait_for_the_disk" in reports[0]
    assert limit.exceeded == 1
    bench.wait_empty(worker, "orders", "orders.dead")
    bench.wait(lambda: all(thread.name != "rmqpool time limit" for thread in threading.enumerate()))


def wait_for_the_disk(go_on: threading.Event) -> None:
    """What a slow handler does."""
    go_on.wait(20)


@pytest.mark.parametrize("seconds", [0, -1, True, "5", float("nan")])
def test_what_cannot_be_is_refused(seconds: Any) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match="seconds"):
        TimeLimit(seconds)
