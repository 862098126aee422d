"""A message whose handler fails, or whose body cannot be decoded, is parked; it is never lost and never loops."""

import asyncio
import gzip
import itertools
import logging
import os
import time

import pytest

from rmqpool import Delivery, Queue, Reject, Retry
from rmqpool.amqp import consume_session
from rmqpool.amqp.deliveries import receive
from rmqpool.middlewares import Logging
from tests.integration.worker import child_handlers


class Unspeakable(Exception):
    """Cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def recursion(depth: int = 0) -> int:
    """Until Python has enough."""
    return recursion(depth + 1) + 1


FAILURES = {
    "plain": lambda: ValueError("a wrong price"),
    "unspeakable": lambda: Unspeakable(),
    "huge": lambda: ValueError("x" * 1_000_000),
    "surrogate": lambda: ValueError("half a pair: \ud83d, and \x00"),
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(),
    "generator": lambda: GeneratorExit(),
    "cancelled": lambda: asyncio.CancelledError(),
}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_whatever_a_handler_raises_is_parked(bench, kind):
    """Exceptions that cannot be printed, that are huge, that would end a program: and the worker goes on."""
    worker = bench.worker()

    def fail(body: str) -> None:
        if body == "recursion":
            recursion()
        if body != "fine":
            raise FAILURES[body]()

    if kind == "sync":
        worker.consumer("orders", concurrency=2)(fail)
    else:

        @worker.consumer("orders", concurrency=2)
        async def fail_later(body: str) -> None:
            await asyncio.sleep(0)
            fail(body)

    worker.start()
    bodies = [*FAILURES, "recursion", "fine"]
    bench.publisher.publish_many("orders", bodies).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 1 and worker.stats().parked == len(bodies) - 1)
    assert worker.stats().failed == len(bodies) - 1
    parked = {bench.take("orders.dead").body.decode() for _ in bodies[:-1]}
    assert parked == set(bodies[:-1])
    bench.wait_empty(worker, "orders")


def test_the_parked_message_tells_why(bench):
    """Reason, exception, where it came from, who parked it; its id, its properties and its body are as they were."""
    worker = bench.worker("shop")

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise ValueError("a wrong price")

    worker.start()
    sent = bench.publisher.publish("orders", {"id": 7}, headers={"tenant": "acme"}, type="order", expiration=60)
    parked = bench.take("orders.dead")
    assert (parked.body, parked.message_id, parked.type) == (b'{"id":7}', sent.message_id, "order")
    assert parked.expiration is None
    assert parked.headers["tenant"] == "acme"
    assert parked.headers["x-rmqpool-reason"] == "exception"
    assert parked.headers["x-rmqpool-exception-type"] == "ValueError"
    assert parked.headers["x-rmqpool-exception-message"] == "a wrong price"
    assert 'raise ValueError("a wrong price")' in parked.headers["x-rmqpool-exception-traceback"]
    assert parked.headers["x-rmqpool-original-queue"] == "orders"
    assert parked.headers["x-rmqpool-original-routing-key"] == "orders"
    assert parked.headers["x-rmqpool-original-expiration"] == "60000"
    assert parked.headers["x-rmqpool-attempt"] == 1
    assert parked.headers["x-rmqpool-worker"].endswith(":shop")


def test_headers_that_fill_a_frame_are_parked_too(bench):
    """A frame that is too large would end the connection (501)."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(body: str) -> None:
        raise ValueError("x" * 100_000)

    worker.start()
    for size in (100_000, 130_000):
        bench.publisher.publish("orders", "body", headers={"large": "y" * size})
        parked = bench.take("orders.dead")
        assert len(parked.headers["large"]) == size
        assert parked.headers["x-rmqpool-reason"] == "exception"
    assert worker.stats().parking_failed == 0


PICKLE = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07example\x94."
UNDECODABLE = [
    (b"{", "application/json", None, "decode:corrupt"),
    (b"", "application/json", None, "decode:corrupt"),
    (b"\xff\xfe", "text/plain", "utf-8", "decode:charset"),
    (b"{}", "application/json; charset=klingon", None, "decode:charset"),
    (PICKLE, "application/x-python-serialize", None, "decode:content-type"),
    (b"a: 1", "application/x-yaml", None, "decode:content-type"),
    (gzip.compress(b"0" * 70_000_000), "application/json", "gzip", "decode:too-large"),
    (b'{"id": "x"}', "application/json", None, "decode:validation"),
    (b"[]", None, None, "decode:validation"),
]


def test_bodies_that_cannot_be_decoded_are_parked_raw(bench):
    """With the reason; the handler is never called, nothing loops, nothing is acknowledged silently."""
    called = []
    worker = bench.worker()

    @worker.consumer("orders", on_error="requeue")
    def handle(order: dict[str, int]) -> None:
        called.append(order)

    worker.start()
    sent = {}
    for body, content_type, encoding, reason in UNDECODABLE:
        options = {"content_type": content_type, "content_encoding": encoding}
        message_id = bench.publisher.publish("orders", body, **options).message_id
        sent[message_id] = (body, reason)
    parked = [bench.take("orders.dead") for _ in UNDECODABLE]
    assert {one.message_id: (one.body, one.headers["x-rmqpool-reason"]) for one in parked} == sent
    assert called == []
    assert worker.stats().undecodable == len(UNDECODABLE)
    bench.wait_empty(worker, "orders")


def test_a_validator_that_breaks_is_no_reason_to_lose_a_message(bench):
    """A body type's own code may raise anything."""
    from pydantic import BaseModel, field_validator

    class Odd(BaseModel):
        id: int

        @field_validator("id")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError("a bug")

    worker = bench.worker()

    @worker.consumer("orders")
    def handle(odd: Odd) -> None: ...

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    assert bench.take("orders.dead").headers["x-rmqpool-reason"] == "decode:error"


def test_reject_parks_with_the_handlers_words(bench):
    """And is not counted as a failure."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise Reject("unknown customer")

    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    parked = bench.take("orders.dead")
    assert parked.headers["x-rmqpool-reason"] == "rejected:unknown customer"
    assert "x-rmqpool-exception-type" not in parked.headers
    assert (worker.stats().rejected, worker.stats().failed) == (1, 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_retry_comes_again_after_its_delay(bench, kind):
    """Counted as an attempt by the broker."""
    attempts: list[tuple[int, float]] = []
    worker = bench.worker()

    def handle(order: dict, delivery: Delivery) -> None:
        attempts.append((delivery.attempt, time.monotonic()))
        if len(attempts) < 3:
            raise Retry("not yet", delay=0.3)

    async def handle_later(order: dict, delivery: Delivery) -> None:
        handle(order, delivery)

    worker.consumer("orders")(handle if kind == "sync" else handle_later)
    worker.start()
    bench.publisher.publish("orders", {"id": 1})
    bench.wait(lambda: worker.stats().handled == 1)
    assert [attempt for attempt, _ in attempts] == [1, 2, 3]
    assert all(0.3 <= later[1] - earlier[1] < 1.0 for earlier, later in itertools.pairwise(attempts))
    assert (worker.stats().retried, worker.stats().requeued, worker.stats().failed) == (2, 2, 0)


def test_requeued_failures_end_in_the_dead_letter_queue(bench):
    """At the delivery limit the broker moves the message itself; until then the attempts are paced."""
    worker = bench.worker()

    @worker.consumer("orders", on_error="requeue", queue=Queue("orders", delivery_limit=2))
    def handle(order: dict) -> None:
        raise ValueError("always")

    worker.start()
    start = time.monotonic()
    bench.publisher.publish("orders", {"id": 1})
    parked = bench.take("orders.dead")
    assert time.monotonic() - start >= 0.1 + 0.2 + 0.4
    assert "x-rmqpool-reason" not in parked.headers  # the broker did it
    assert (worker.stats().failed, worker.stats().parked) == (3, 0)


def test_a_failure_is_logged_once_with_its_traceback(bench, caplog):
    """And says where the message went."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(order: dict) -> None:
        raise ValueError("a wrong price")

    with caplog.at_level(logging.ERROR, "rmqpool"):
        worker.start()
        bench.publisher.publish("orders", {"id": 1})
        bench.take("orders.dead")
    (record,) = caplog.records
    assert "it is parked in 'orders.dead'" in record.message
    assert "ValueError: a wrong price" in record.message


def test_a_message_with_unreadable_properties_is_parked_without_them(bench, monkeypatch):
    """Broken on its way here: its body is safe, the reason is told, and the next message is handled."""
    monkeypatch.setenv("RMQPOOL_WIRE", "")  # pika's own wire would give up the connection
    broken = b"\x20\x00" + b"\x00\x00\x00\xff" + b"\x01aS"  # a table of headers that claims 255 bytes

    def receive_broken(contents, origin, settler):
        changed = [(one[0], one[1], broken if one[3] == b"bad" else one[2], one[3]) for one in contents]
        return receive(changed, origin, settler)

    monkeypatch.setattr(consume_session, "receive", receive_broken)
    worker, handled = bench.worker(), []

    @worker.consumer("orders")
    def handle(body: str) -> None:
        handled.append(body)

    worker.start()
    bench.publisher.publish_many("orders", [b"bad", b"good"], content_type="text/plain").raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 1 and worker.stats().handled == 1)
    parked = bench.take("orders.dead")
    assert (parked.body, parked.content_type, parked.headers["x-rmqpool-reason"]) == (b"bad", None, "decode:properties")
    assert (handled, worker.stats().undecodable) == (["good"], 1)
    bench.wait_empty(worker, "orders")


def test_a_coroutine_that_nobody_awaited_is_a_failure(bench):
    """A decorator hid the async def, or an await is missing: nothing was done, so nothing is acknowledged as handled."""
    done = []

    async def work(body: object) -> None:
        done.append(body)

    def generate(body: object):
        yield done.append(body)

    async def forgets_to_await(body: str):
        return work(body)

    worker = bench.worker()
    handlers = {
        "orders": lambda body: work(body),
        "orders.2": forgets_to_await,
        "orders.3": lambda body: generate(body),
    }
    for queue, handler in handlers.items():
        worker.consumer(queue)(handler)
    worker.consumer("orders.4", batch=2, batch_timeout=0)(lambda bodies: work(bodies))
    worker.consumer("orders.5", middleware=[Logging()])(lambda body: work(body))
    worker.consumer("orders.6", executor="process", concurrency=1)(child_handlers.hides_a_coroutine)
    worker.start()
    for queue in (*handlers, "orders.4", "orders.5", "orders.6"):
        bench.publisher.publish(queue, {"file": os.devnull} if queue == "orders.6" else "body")
        parked = bench.take(f"{queue}.dead", timeout=60)
        assert parked.headers["x-rmqpool-reason"] == "exception", queue
        assert "never ran, so nothing was done" in parked.headers["x-rmqpool-exception-message"]
    assert (worker.stats().handled, worker.stats().failed, done) == (0, 6, [])
