"""Middleware around handlers of batches, messages with keys, and handlers in child processes: the same promises hold."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from rmqpool import Backoff, BatchError, ConfigurationError, Delivery, Middleware, Publisher, Queue, Reject
from rmqpool.amqp import consume_session
from rmqpool.amqp.deliveries import receive
from rmqpool.middlewares import (
    BreakerPolicy,
    BreakerState,
    CircuitBreaker,
    Idempotency,
    Logging,
    Metrics,
    TimeLimit,
    Tracing,
)
from rmqpool.middlewares.logs import LOGGER
from tests.integration.worker import child_handlers
from tests.integration.worker.child_handlers import UnknownPriceError
from tests.integration.worker.conftest import Bench, Lines

QUICK = BreakerPolicy(minimum=3, pause=Backoff(0.2, 0.4), patience=5)


class BankDown(Exception):
    """The dependency does not answer."""


@pytest.mark.parametrize("is_async", [False, True])
def test_batches_are_kept_while_a_dependency_is_down(bench: Bench, is_async: bool) -> None:
    """All messages of a batch that failed are handled in the end, once each, and none is parked."""
    down = threading.Event()
    down.set()
    booked: list[int] = []
    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK)
    worker = bench.worker(declare=[Queue("orders")], middleware=[breaker])

    def book(numbers: list[int]) -> None:
        if down.is_set():
            raise BankDown
        booked.extend(numbers)

    if is_async:

        @worker.consumer("orders", batch=10, batch_timeout=0.05)
        async def handle_async(numbers: list[int]) -> None:
            book(numbers)
    else:

        @worker.consumer("orders", batch=10, batch_timeout=0.05)
        def handle(numbers: list[int]) -> None:
            book(numbers)

    worker.start()
    bench.publisher.publish_many("orders", range(50)).raise_for_failures()
    bench.wait(lambda: breaker.state is BreakerState.OPEN)
    bench.wait(lambda: not worker.is_ready)
    down.clear()
    bench.wait(lambda: len(booked) == 50)
    assert sorted(booked) == list(range(50))
    assert worker.stats().parked == worker.stats().failed == 0
    bench.wait_empty(worker, "orders", "orders.dead")


def test_another_error_may_take_the_place_of_one_message_of_a_batch(bench: Bench) -> None:
    """Also of one that cannot be decoded; the others of its batch are handled."""

    class Refusing(Middleware):
        def on_handle_error(self, delivery: Delivery, state: Any, error: BaseException) -> BaseException | None:
            return Reject("for good")

    worker = bench.worker(declare=[Queue("orders")], middleware=[Refusing()])

    @worker.consumer("orders", batch=3, batch_timeout=5)
    def handle(numbers: list[int]) -> None:
        raise BatchError({1: ValueError()})

    worker.start()
    bench.publisher.publish_many("orders", ["no number", 1, 2]).raise_for_failures()
    bench.wait(lambda: (worker.stats().rejected, worker.stats().handled) == (2, 1))
    reasons = {bench.take("orders.dead").headers["x-rmqpool-reason"] for _ in range(2)}
    assert reasons == {"rejected:for good"}


def test_each_message_of_a_batch_has_its_span_and_no_context_is_left_behind(bench: Bench) -> None:
    """They end in the order in which they began; what is handled next on that thread begins with none of them."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    left: list[bool] = []

    class Looking(Middleware):
        def before_handle(self, delivery: Delivery) -> None:
            if delivery.body in (b"0", b"3"):  # each the first of its batch
                left.append(trace.get_current_span().get_span_context().is_valid)

    worker = bench.worker(declare=[Queue("orders")], middleware=[Looking(), tracing])

    @worker.consumer("orders", batch=3, batch_timeout=5, concurrency=1)
    def handle(numbers: list[int]) -> None: ...

    publisher = Publisher(bench.pool, declare=[Queue("orders")], middleware=[tracing])
    worker.start()
    publisher.publish_many("orders", range(6)).raise_for_failures()

    def spans(name: str) -> list[Any]:
        return [span for span in exporter.get_finished_spans() if span.name == name]

    bench.wait(lambda: len(spans("process orders")) == 6)
    assert left == [False, False]
    assert {span.parent.span_id for span in spans("process orders")} == {
        span.context.span_id for span in spans("publish orders")
    }
    publisher.close()
    provider.shutdown()


def test_copies_within_one_batch_are_handled_once(bench: Bench) -> None:
    """The second waits for the first, and is skipped."""
    handled: list[int] = []
    worker = bench.worker(declare=[Queue("orders")], middleware=[Idempotency()])

    @worker.consumer("orders", batch=4, batch_timeout=0.2)
    def handle(numbers: list[int]) -> None:
        handled.extend(numbers)

    worker.start()
    for number in (1, 1, 2, 1):
        bench.publisher.publish("orders", number, message_id=f"m-{number}")
    bench.wait(lambda: worker.stats().handled + worker.stats().skipped == 4)
    assert sorted(handled) == [1, 2]


def test_a_time_limit_for_messages_refuses_batches(bench: Bench) -> None:
    """It says what to use instead."""
    worker = bench.worker(middleware=[TimeLimit(1)])

    @worker.consumer("orders", batch=4)
    async def handle(numbers: list[int]) -> None: ...

    with pytest.raises(ConfigurationError, match="time_limit"):
        worker.start()


def test_messages_of_one_key_keep_their_order_while_a_dependency_is_down(bench: Bench) -> None:
    """A message that is kept keeps its place: no later one of its key overtakes it."""
    down = threading.Event()
    down.set()
    booked: list[tuple[str, int]] = []
    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK)
    worker = bench.worker(middleware=[breaker])

    @worker.consumer("orders", concurrency=4, key=lambda delivery: json.loads(delivery.body)[0])
    def handle(body: list) -> None:
        if down.is_set():
            raise BankDown
        booked.append((body[0], body[1]))

    worker.start()
    rows = [(key, number) for number in range(20) for key in "abc"]
    bench.publisher.publish_many("orders", rows).raise_for_failures()
    bench.wait(lambda: breaker.state is BreakerState.OPEN)
    down.clear()
    bench.wait(lambda: len(booked) == 60)
    for key in "abc":
        assert [number for name, number in booked if name == key] == list(range(20))
    assert worker.stats().parked == 0


def test_a_dependency_that_fails_in_child_processes_opens_the_breaker(bench: Bench) -> None:
    """By the class of the exception that was raised there; its messages are not parked."""
    breaker = CircuitBreaker("prices", on=UnknownPriceError, policy=QUICK)
    worker = bench.worker(middleware=[breaker])
    worker.consumer("orders", executor="process", concurrency=1)(child_handlers.verdict)
    worker.start()
    bench.publisher.publish_many("orders", [{"id": number, "do": "raise"} for number in range(4)]).raise_for_failures()
    bench.wait(lambda: breaker.state is BreakerState.OPEN)
    assert worker.stats().parked == 0
    worker.stop()
    bench.wait_count("orders", 4)


def test_a_handler_in_a_child_process_may_postpone_its_message(bench: Bench, lines: Lines) -> None:
    """As anywhere."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1)(child_handlers.verdict)
    worker.start()
    bench.publisher.publish("orders", {"id": 1, "do": "postpone", "file": lines.file})
    bench.wait(lambda: worker.stats().handled == 1)
    assert worker.stats().postponed == 1
    assert worker.stats().parked == worker.stats().failed == 0


def test_a_message_whose_properties_cannot_be_read_is_parked_as_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None of them stumbles over it, and the next message is handled."""
    monkeypatch.setenv("RMQPOOL_WIRE", "")  # pika's own wire would give up the connection
    broken = b"\x20\x00" + b"\x00\x00\x00\xff" + b"\x01aS"  # a table of headers that claims 255 bytes

    def receive_broken(contents: Any, *others: Any) -> Any:
        return receive([(one[0], one[1], broken if one[3] == b"bad" else one[2], one[3]) for one in contents], *others)

    monkeypatch.setattr(consume_session, "receive", receive_broken)
    breaker = CircuitBreaker("bank", on=BankDown)
    everything = [
        Metrics(CollectorRegistry()),
        Tracing(),
        Logging(headers=["kind"]),
        breaker,
        TimeLimit(5),
        Idempotency(),
    ]
    worker = bench.worker(middleware=everything)

    @worker.consumer("orders")
    def handle(body: str) -> None: ...

    with caplog.at_level(logging.INFO, LOGGER):
        worker.start()
        bench.publisher.publish_many("orders", [b"bad", b"good"], content_type="text/plain").raise_for_failures()
        bench.wait(lambda: worker.stats().parked == 1 and worker.stats().handled == 1)
    assert bench.take("orders.dead").headers["x-rmqpool-reason"] == "decode:properties"
    outcomes = [vars(record)["outcome"] for record in caplog.records if record.name == LOGGER]
    assert sorted(outcomes) == ["handled", "undecodable"]
    assert worker.stats().undecodable == 1
