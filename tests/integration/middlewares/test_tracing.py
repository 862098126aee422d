"""What publishes a message and what handles it are one trace: through retries, an outbox, and messages of other clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from rmqpool import AsyncPublisher, Delivery, Publisher, Queue, RetryPolicy, Skip, UnroutableError
from rmqpool.middlewares import Tracing
from rmqpool.outbox import Outbox, Relay
from tests.integration.worker.conftest import Bench


class Recorded:
    """A provider, and the spans that ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """The spans of that name, in the order of their ends."""
        return [span for span in self.exporter.get_finished_spans() if name in ("", span.name)]

    def one(self, name: str) -> ReadableSpan:
        """The only span of that name."""
        (found,) = self.spans(name)
        return found


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Traces of this test."""
    made = Recorded()
    yield made
    made.provider.shutdown()


def ids(span: ReadableSpan) -> tuple[int, int, int | None]:
    """Of the trace, the span and its parent."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id, span.parent.span_id if span.parent is not None else None


@pytest.mark.parametrize("is_async", [False, True])
def test_publish_and_handle_are_one_trace(bench: Bench, recorded: Recorded, is_async: bool) -> None:
    """The handling is the publish's child, and what the handler does and publishes belongs to the handling."""
    tracing = Tracing(recorded.provider)
    publisher = Publisher(bench.pool, declare=[Queue("orders"), Queue("mails")], middleware=[tracing])
    worker = bench.worker(middleware=[tracing])

    def work() -> None:
        with recorded.tracer.start_as_current_span("pack"):
            publisher.submit("mails", "sent").result(5)

    if is_async:

        @worker.consumer("orders")
        async def handle_async(delivery: Delivery) -> None:
            await asyncio.sleep(0)
            await asyncio.to_thread(work)
    else:

        @worker.consumer("orders")
        def handle(delivery: Delivery) -> None:
            work()

    worker.start()
    with recorded.tracer.start_as_current_span("request"):
        publisher.publish("orders", {"id": 7}, message_id="m-1", correlation_id="c-1", headers={"mine": 1})
    bench.wait(lambda: recorded.spans("process orders"))
    request, publish, process = (recorded.one(name) for name in ("request", "publish orders", "process orders"))
    pack, mail = recorded.one("pack"), recorded.one("publish mails")
    assert len({ids(span)[0] for span in (request, publish, process, pack, mail)}) == 1
    parents = [(publish, request), (process, publish), (pack, process), (mail, pack)]
    assert all(ids(child)[2] == ids(parent)[1] for child, parent in parents)
    assert (publish.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert process.status.status_code is StatusCode.UNSET
    common = {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": "orders",
        "messaging.rabbitmq.destination.routing_key": "orders",
        "messaging.message.id": "m-1",
        "messaging.message.conversation_id": "c-1",
        "messaging.message.body.size": 8,
    }
    assert publish.attributes is not None
    assert process.attributes is not None
    names = {"messaging.operation.name": "publish", "messaging.operation.type": "send"}
    assert dict(publish.attributes) == {**common, **names}
    names = {"messaging.operation.name": "process", "messaging.operation.type": "process"}
    more = {"messaging.rabbitmq.message.delivery_tag": 1, "rmqpool.attempt": 1}
    assert dict(process.attributes) == {**common, **names, **more}
    mail_delivery = bench.take("mails")
    assert trace.get_current_span().get_span_context().is_valid is False
    assert mail_delivery.headers["traceparent"].split("-")[1] == f"{ids(mail)[0]:032x}"
    publisher.close()


@pytest.mark.parametrize("backoff", [0.05, 1])
def test_retries_stay_in_the_trace(bench: Bench, recorded: Recorded, backoff: float) -> None:
    """Each attempt is a child of the publish, in the worker and through a retry queue; the failed one says why."""
    tracing = Tracing(recorded.provider)
    publisher = Publisher(bench.pool, middleware=[tracing])
    worker = bench.worker(middleware=[tracing])

    @worker.consumer("orders", retry=RetryPolicy(backoff=backoff, hold=0.5))
    def handle(delivery: Delivery) -> None:
        if delivery.attempt == 1:
            raise ValueError("a secret of the message")

    worker.start()
    publisher.publish("orders", 1)
    bench.wait(lambda: len(recorded.spans("process orders")) == 2)
    publish = recorded.one("publish orders")
    first, second = recorded.spans("process orders")
    assert {ids(span)[0] for span in (first, second)} == {ids(publish)[0]}
    assert {ids(span)[2] for span in (first, second)} == {ids(publish)[1]}
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes is not None
    assert second.attributes is not None
    assert (first.attributes["error.type"], first.attributes["rmqpool.outcome"]) == ("ValueError", "failed")
    assert (first.attributes["rmqpool.attempt"], second.attributes["rmqpool.attempt"]) == (1, 2)
    assert "secret" not in first.to_json() + str(first.events)
    publisher.close()


def test_an_outbox_takes_the_trace_along(bench: Bench, recorded: Recorded, outbox_url: str) -> None:
    """From the transaction's span to the handling, with the relay in between: Tracing.headers() carries it."""
    worker = bench.worker(middleware=[Tracing(recorded.provider)])

    @worker.consumer("orders")
    def handle(order: dict) -> None: ...

    worker.start()
    with (
        psycopg.connect(outbox_url) as connection,
        recorded.tracer.start_as_current_span("order"),
        connection.transaction(),
    ):
        Outbox().publish(connection, "orders", {"id": 7}, headers=Tracing.headers({"mine": 1}))
    with Relay(bench.url, outbox_url):
        bench.wait(lambda: recorded.spans("process orders"))
    order, process = recorded.one("order"), recorded.one("process orders")
    assert ids(process)[0] == ids(order)[0]
    assert ids(process)[2] == ids(order)[1]


@pytest.mark.parametrize("headers", [{}, {"traceparent": b"\xff"}, {"traceparent": 7}, {"traceparent": "nonsense"}])
def test_a_message_without_a_trace_begins_one(bench: Bench, recorded: Recorded, headers: Any) -> None:
    """Other clients write what they like."""
    worker = bench.worker(middleware=[Tracing(recorded.provider)])

    @worker.consumer("orders")
    def handle(body: int) -> None:
        raise Skip("nothing to do")

    worker.start()
    bench.publisher.publish("orders", 1, headers=headers)
    bench.wait(lambda: recorded.spans("process orders"))
    process = recorded.one("process orders")
    assert process.parent is None
    assert process.status.status_code is StatusCode.UNSET


async def test_a_publish_that_fails_says_so_in_its_span(bench: Bench, recorded: Recorded) -> None:
    """With its outcome as error.type; with asyncio, too; the exception itself only if it was asked for."""
    tracing = Tracing(recorded.provider, record_exceptions=True)
    async with AsyncPublisher(bench.url, middleware=[tracing]) as publisher:
        with pytest.raises(UnroutableError):
            await publisher.publish("nowhere", 1)
    span = recorded.one("publish nowhere")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "returned"
    assert [event.name for event in span.events] == ["exception"]


def test_a_message_of_an_exchange_is_named_by_all_it_went_through(bench: Bench, recorded: Recorded) -> None:
    """Exchange, routing key and queue, as the conventions say; the span's own name has few values."""
    tracing = Tracing(recorded.provider)
    publisher = Publisher(bench.pool, middleware=[tracing])
    worker = bench.worker(middleware=[tracing])

    @worker.consumer("orders")
    def handle(body: int) -> None: ...

    worker.start()
    with bench.pool.channel() as channel:
        channel.queue_bind("orders", "amq.topic", "order.#")
    publisher.publish_to("amq.topic", "order.created", 1)
    bench.wait(lambda: recorded.spans("process orders"))
    publish, process = recorded.one("publish amq.topic"), recorded.one("process orders")
    assert publish.attributes is not None
    assert process.attributes is not None
    assert publish.attributes["messaging.destination.name"] == "amq.topic:order.created"
    assert process.attributes["messaging.destination.name"] == "amq.topic:order.created:orders"
    publisher.close()
