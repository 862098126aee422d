"""A message that was handled is not handled again; one that failed is; and of two at once one waits for the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rmqpool import ConfigurationError, Delivery, InboxUnavailableError, Publisher, Reject, RetryPolicy, Skip
from rmqpool.middlewares import Idempotency, InMemoryIdempotencyStore, Known
from tests.integration.worker.conftest import Bench


@pytest.mark.parametrize("is_async", [False, True])
def test_what_was_handled_is_skipped(bench: Bench, is_async: bool) -> None:
    """By its message_id, however often it comes; other messages are handled. The same id on another queue is another."""
    handled: list[tuple[str, int]] = []
    worker = bench.worker(middleware=[Idempotency()])

    if is_async:

        @worker.consumer("orders")
        async def handle_async(number: int, delivery: Delivery) -> None:
            handled.append(("orders", number))
    else:

        @worker.consumer("orders")
        def handle(number: int, delivery: Delivery) -> None:
            handled.append(("orders", number))

    @worker.consumer("copies")
    def handle_copy(number: int) -> None:
        handled.append(("copies", number))

    worker.start()
    for number in (1, 1, 2, 1):
        bench.publisher.publish("orders", number, message_id=f"order-{number}")
    bench.publisher.publish("copies", 1, message_id="order-1")
    bench.wait(lambda: worker.stats().handled + worker.stats().skipped == 5)
    assert sorted(handled) == [("copies", 1), ("orders", 1), ("orders", 2)]
    bench.wait_empty(worker, "orders", "orders.dead")


def test_what_failed_is_handled_again(bench: Bench) -> None:
    """By a retry policy, or when it is replayed; what was skipped by the handler itself counts as handled."""
    attempts: list[str] = []
    worker = bench.worker(middleware=[Idempotency()])

    @worker.consumer("orders", retry=RetryPolicy(backoff=0.05), concurrency=1)
    def handle(what: str) -> None:
        attempts.append(what)
        if attempts.count(what) == 1 and what == "fail":
            raise ValueError
        if what == "reject":
            raise Reject
        if what == "skip":
            raise Skip

    worker.start()
    for what in ("fail", "reject", "reject", "skip", "skip"):
        bench.publisher.publish("orders", what, message_id=what)
    bench.wait(lambda: worker.stats().parked == 2 and worker.stats().skipped == 2)
    bench.wait(lambda: worker.stats().handled == 1)
    assert sorted(attempts) == ["fail", "fail", "reject", "reject", "skip"]


def test_a_message_waits_while_another_handler_has_its_key(bench: Bench) -> None:
    """It is skipped when that one has succeeded, and handled when it has failed; two never run at once."""
    begun, go_on = threading.Event(), threading.Event()
    running: list[int] = []
    handled: list[str] = []
    worker = bench.worker(middleware=[Idempotency(key=lambda delivery: delivery.correlation_id)])

    @worker.consumer("orders", concurrency=4)
    def handle(what: str) -> None:
        running.append(1)
        assert len(running) == 1
        handled.append(what)
        begun.set()
        go_on.wait(10)
        running.pop()
        if what == "first" and handled.count("first") == 1:
            raise ValueError

    worker.start()
    bench.publisher.publish("orders", "first", correlation_id="same")
    assert begun.wait(5)
    bench.publisher.publish("orders", "second", correlation_id="same")
    bench.publisher.publish("orders", "third", correlation_id="same")
    bench.wait(lambda: worker.stats().postponed >= 2)
    go_on.set()
    bench.wait(lambda: worker.stats().skipped == 1)
    assert handled[0] == "first"
    assert len(handled) == 2
    assert (worker.stats().parked, worker.stats().handled) == (1, 1)


def test_a_message_that_waited_too_long_goes_back_to_its_queue(bench: Bench) -> None:
    """The handler that has its key may hang: another worker may take it."""
    store = InMemoryIdempotencyStore()
    assert store.begin("orders\x1fstuck") is Known.NEW
    worker = bench.worker(middleware=[Idempotency(store, wait=0.2)])

    @worker.consumer("orders")
    def handle(number: int) -> None: ...

    worker.start()
    bench.publisher.publish("orders", 1, message_id="stuck")
    bench.wait(lambda: worker.stats().requeued >= 1)
    store.forget("orders\x1fstuck")
    bench.wait(lambda: worker.stats().handled == 1)


def test_a_message_without_a_key_is_handled_each_time_and_that_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can know it again."""
    worker = bench.worker(middleware=[Idempotency(key=lambda delivery: None)])

    @worker.consumer("orders")
    def handle(number: int) -> None: ...

    with caplog.at_level(logging.WARNING, "rmqpool"):
        worker.start()
        bench.publisher.publish_many("orders", [1, 1, 1]).raise_for_failures()
        bench.wait(lambda: worker.stats().handled == 3)
    assert len([record for record in caplog.records if "no key to know it again by" in record.getMessage()]) == 1


def test_a_copy_that_another_publisher_sent_is_known(bench: Bench) -> None:
    """As after a publish whose confirm was lost: both copies carry the same message_id."""
    store = InMemoryIdempotencyStore()
    worker = bench.worker(middleware=[Idempotency(store)])
    handled: list[int] = []

    @worker.consumer("orders")
    def handle(number: int) -> None:
        handled.append(number)

    worker.start()
    with Publisher(bench.url) as other:
        for publisher in (bench.publisher, other):
            publisher.publish("orders", 1, message_id="m-1")
    bench.wait(lambda: worker.stats().skipped == 1)
    assert handled == [1]
    assert len(store) == 1


class ClosedInbox:
    """An inbox whose database is away at first."""

    is_async = False
    consumer = None

    def __init__(self) -> None:
        self.away = 2

    def open(self, concurrency: int) -> None: ...

    def close(self) -> None: ...

    @contextmanager
    def transaction(self, consumer: str, message_id: str) -> Iterator[object]:
        if self.away:
            self.away -= 1
            raise InboxUnavailableError("the database is away")
        yield object()


def test_a_message_that_an_inbox_postponed_is_not_taken_for_handled(bench: Bench) -> None:
    """Its database could not be reached, so nothing was done: it is handled afterwards."""
    handled: list[int] = []
    worker = bench.worker(middleware=[Idempotency()])

    @worker.consumer("orders", inbox=ClosedInbox())
    def handle(number: int) -> None:
        handled.append(number)

    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: worker.stats().handled == 1)
    assert handled == [1]
    assert worker.stats().postponed == 2


def test_a_handler_that_settles_by_hand_is_refused(bench: Bench) -> None:
    """It returns before its message is handled: a copy would be acknowledged that nobody handles."""
    worker = bench.worker(middleware=[Idempotency()])

    @worker.consumer("orders", ack="manual")
    def handle(delivery: Delivery) -> None: ...

    with pytest.raises(ConfigurationError, match="ack='manual'"):
        worker.start()


@pytest.mark.parametrize(
    ("options", "words"), [({"store": {}}, "no store"), ({"key": "message_id"}, "key"), ({"wait": -1}, "wait")]
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=words):
        Idempotency(**options)
