"""Answering requests: what a handler returns is the reply, and no caller waits in vain for one that failed for good."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from rmqpool import (
    AsyncPublisher,
    Backoff,
    Delivery,
    Middleware,
    Publisher,
    Queue,
    Reject,
    RemoteError,
    ReplyTimeoutError,
    RetryPolicy,
    Skip,
    headers,
)
from rmqpool.worker.answering import ReplyMode
from tests.integration.worker.conftest import Bench


@dataclass
class Price:
    """A reply's body."""

    sku: int
    cents: int


def test_a_handlers_result_answers_a_call(bench: Bench) -> None:
    """Encoded as any body, and the request is acknowledged."""
    worker = bench.worker()

    @worker.consumer("prices")
    def price(body: dict[str, Any]) -> Price:
        return Price(body["sku"], 250)

    with worker:
        reply = bench.publisher.call("prices", {"sku": 7}, timeout=10, reply_type=Price)
        assert reply.body == Price(7, 250)
        bench.wait(lambda: worker.stats().answered == 1)
    bench.wait_empty(worker, "prices", "prices.dead")
    assert worker.stats().handled == 1


@pytest.mark.parametrize("result", [None, "text", b"\x00bytes", [1, "two"], 7.5], ids=repr)
def test_every_kind_of_result_arrives_as_it_was(bench: Bench, result: Any) -> None:
    """None is an answer too."""
    worker = bench.worker()

    @worker.consumer("kinds")
    def handle(body: int) -> Any:
        return result

    with worker:
        assert bench.publisher.call("kinds", 1, timeout=10).body == result


async def test_a_coroutine_answers_awaited_calls(bench: Bench) -> None:
    """Many at once, on both sides."""
    worker = bench.worker()

    @worker.consumer("doubles", concurrency=50, prefetch=200)
    async def double(number: int) -> int:
        return 2 * number

    await asyncio.to_thread(worker.start)
    publisher = AsyncPublisher(bench.pool)
    replies = await asyncio.gather(*(publisher.call("doubles", number, timeout=20) for number in range(300)))
    assert [reply.body for reply in replies] == [2 * number for number in range(300)]
    assert await asyncio.to_thread(worker.stop)


def test_middleware_sees_the_result_that_is_sent(bench: Bench) -> None:
    """A consumer with middleware answers as one without."""

    class Watching(Middleware):
        results: list[Any]

        def after_handle(self, delivery: Delivery, state: Any, result: Any) -> None:
            self.results.append(result)

    watching = Watching()
    watching.results = []
    worker = bench.worker(middleware=[watching])

    @worker.consumer("watched")
    def handle(body: int) -> int:
        return body + 1

    with worker:
        assert bench.publisher.call("watched", 1, timeout=10).body == 2
    assert watching.results == [2]


def test_a_failed_request_is_parked_and_its_caller_told(bench: Bench) -> None:
    """With the exception's type and message; it does not wait for its timeout."""
    worker = bench.worker()

    @worker.consumer("failing")
    def handle(body: dict[str, Any]) -> int:
        raise LookupError("no such sku")

    with worker:
        begun = time.monotonic()
        with pytest.raises(RemoteError, match="LookupError: no such sku") as caught:
            bench.publisher.call("failing", {"sku": 7}, timeout=20)
        assert time.monotonic() - begun < 10
        assert (caught.value.reason, caught.value.type, caught.value.message) == (
            "exception",
            "LookupError",
            "no such sku",
        )
        parked = bench.take("failing.dead")
    assert parked.headers[headers.REASON] == "exception"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("reject", "rejected:out of stock"),
        ("skip", "skipped"),
        ("unsendable", "reply:encode"),
        (7, "decode:validation"),
    ],
)
def test_every_end_without_a_result_is_told(bench: Bench, body: object, reason: str) -> None:
    """Rejected, skipped, a result that cannot be encoded, a body that cannot be decoded."""
    worker = bench.worker()

    @worker.consumer("ends")
    def handle(body: list[str]) -> object:
        if body == ["reject"]:
            raise Reject("out of stock")
        if body == ["skip"]:
            raise Skip
        return object()

    with worker:
        with pytest.raises(RemoteError) as caught:
            bench.publisher.call("ends", [body] if isinstance(body, str) else body, timeout=20)
        assert caught.value.reason == reason
        if reason == "reply:encode":
            assert "cannot be encoded" in str(caught.value) or "JSON" in str(caught.value)
        if reason != "skipped":
            assert bench.take("ends.dead").headers[headers.REASON] == reason
    bench.wait_empty(worker, "ends", "ends.dead")


@pytest.mark.parametrize(
    "retry",
    [
        RetryPolicy(max_attempts=3, backoff=Backoff(0.05, 0.05)),
        RetryPolicy(max_attempts=3, backoff=Backoff(1, 1), hold=0),
    ],
    ids=["in the worker", "through the broker"],
)
def test_a_request_that_is_tried_again_is_answered_by_the_attempt_that_succeeds(
    bench: Bench, retry: RetryPolicy
) -> None:
    """No error is sent while retries will follow; a delay in the broker keeps the address of the reply."""
    worker = bench.worker()
    attempts: list[int] = []

    @worker.consumer("flaky", retry=retry)
    def handle(body: int, delivery: Delivery) -> int:
        attempts.append(delivery.attempt)
        if len(attempts) < 3:
            raise ConnectionError("not yet")
        return body

    with worker:
        assert bench.publisher.call("flaky", 5, timeout=20).body == 5
        assert attempts == [1, 2, 3]


def test_a_request_that_failed_too_often_is_told_once(bench: Bench) -> None:
    """When it is parked, after its last attempt."""
    worker = bench.worker()
    attempts: list[int] = []

    @worker.consumer("hopeless", retry=RetryPolicy(max_attempts=3, backoff=Backoff(0.05, 0.05)))
    def handle(body: int, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ConnectionError("never")

    with worker:
        with pytest.raises(RemoteError, match="never"):
            bench.publisher.call("hopeless", 5, timeout=20)
        assert attempts == [1, 2, 3]
    assert bench.pool.stats().late_replies == 0
    bench.wait_empty(worker, "hopeless")


def test_a_handler_that_acknowledges_itself_answers_too(bench: Bench) -> None:
    """ack='manual': the reply does not settle anything."""
    worker = bench.worker()

    @worker.consumer("manual", ack="manual")
    def handle(body: int, delivery: Delivery) -> int:
        delivery.ack()
        return body

    with worker:
        assert bench.publisher.call("manual", 5, timeout=10).body == 5
    bench.wait_empty(worker, "manual")
    assert worker.stats().unsettled == 0


def test_a_reply_goes_to_a_queue_of_the_callers_own_too(bench: Bench) -> None:
    """reply_to may name any queue, as other clients do it; one that is not there loses the reply, not the request."""
    worker = bench.worker()

    @worker.consumer("asked")
    def handle(body: int) -> int:
        return body + 1

    publisher = Publisher(bench.pool, declare=[Queue("answers", dead_letter=False), Queue("asked")])
    with worker:
        publisher.publish("asked", 1, reply_to="answers", correlation_id="first")
        reply = bench.take("answers")
        assert (reply.body, reply.correlation_id, reply.delivery_mode) == (b"2", "first", 2)
        publisher.publish("asked", 1, reply_to="no-such-queue", correlation_id="second")
        bench.wait(lambda: worker.stats().answered == 2)
    bench.wait_empty(worker, "asked", "asked.dead")


@pytest.mark.parametrize(("reply", "told"), [("failure", ["rejected:no"]), ("never", [])])
def test_a_consumer_answers_only_what_it_is_told_to(bench: Bench, reply: ReplyMode, told: list[str]) -> None:
    """Somebody else answers for what it handled; the parked message still says to whom, so that a replay can be answered."""
    worker = bench.worker()

    @worker.consumer("moved", reply=reply)
    def handle(body: str) -> object:
        if body == "reject":
            raise Reject("no")
        if body == "skip":
            raise Skip
        return object()  # which nobody could encode

    publisher = Publisher(bench.pool, declare=[Queue("answers", dead_letter=False), Queue("moved")])
    with worker:
        for body in ("return", "skip", "reject"):
            publisher.publish("moved", body, reply_to="answers")
        assert bench.take("moved.dead").reply_to == "answers"
    bench.wait_empty(worker, "moved")
    stats = worker.stats()
    assert (stats.handled, stats.skipped, stats.rejected, stats.answered, stats.failed) == (1, 1, 1, 0, 0)
    bench.wait_count("answers", len(told))
    assert [bench.take("answers").headers[headers.REPLY_ERROR] for _ in told] == told


def test_messages_without_reply_to_are_handled_as_before(bench: Bench) -> None:
    """What their handler returns goes nowhere."""
    worker = bench.worker()

    @worker.consumer("plain")
    def handle(body: int) -> object:
        return object()

    bench.publisher = Publisher(bench.pool, declare=[Queue("plain")])
    bench.publisher.publish("plain", 1, correlation_id="nobody asks")
    with worker:
        bench.wait(lambda: worker.stats().handled == 1)
    assert (worker.stats().answered, worker.stats().failed) == (0, 0)
    bench.wait_empty(worker, "plain")


def test_a_slow_handler_leaves_its_caller_with_a_timeout(bench: Bench) -> None:
    """And its reply is late: dropped and counted."""
    worker = bench.worker()

    @worker.consumer("slow")
    def handle(body: int) -> int:
        assert late.wait(10)
        return body

    late = threading.Event()
    with worker:
        with pytest.raises(ReplyTimeoutError):
            bench.publisher.call("slow", 1, timeout=0.5)
        late.set()
        bench.wait(lambda: bench.pool.stats().late_replies == 1)
