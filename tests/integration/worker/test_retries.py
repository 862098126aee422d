"""Retries by a policy: as often and as late as it says, in the worker or in queues of the broker; nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import Delivery, Queue, Retry, RetryPolicy, headers
from tests.integration.worker.conftest import Bench


class Hopeless(Exception):
    """Nothing will help."""


def handle_all(bench: Bench, retry: RetryPolicy, behave: Callable[[Delivery], None], **options: Any) -> Any:
    """A started worker on queue orders."""
    worker = bench.worker()

    @worker.consumer("orders", retry=retry, **options)
    def handle(delivery: Delivery) -> None:
        behave(delivery)

    return worker.start()


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_message_that_fails_twice_is_handled_at_the_third_attempt(bench: Bench, kind: Any) -> None:
    """First after a wait in the worker, then after one in a queue; each knows which attempt it is."""
    attempts: list[int] = []

    def behave(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) < 3:
            raise ValueError("not yet")

    worker = handle_all(bench, RetryPolicy(backoff=(0.1, 1), hold=0.5), behave, queue=Queue("orders", type=kind))
    bench.publisher.publish("orders", "x")
    bench.wait(lambda: worker.stats().handled == 1)
    assert attempts == [1, 2, 3]
    stats = worker.stats()
    assert (stats.failed, stats.held_back, stats.delayed, stats.parked) == (2, 1, 1, 0)
    bench.wait_empty(worker, "orders", "orders.retry.1s", "orders.dead")


def test_after_the_last_attempt_it_is_parked(bench: Bench) -> None:
    """With the attempt, the last exception, and when it failed first."""
    moments: list[float] = []

    def behave(delivery: Delivery) -> None:
        moments.append(time.time())
        raise ValueError(f"attempt {delivery.attempt}")

    worker = handle_all(bench, RetryPolicy(max_attempts=3, backoff=(1, 0.1)), behave)
    bench.publisher.publish("orders", "x", message_id="m", headers={"mine": 1}, expiration=60)
    bench.wait(lambda: worker.stats().parked == 1)
    parked = bench.take("orders.dead")
    told = parked.headers
    assert len(moments) == 3
    assert (parked.message_id, told["mine"], told[headers.ATTEMPT]) == ("m", 1, 3)
    assert (told[headers.REASON], told[headers.EXCEPTION_MESSAGE]) == ("exception", "attempt 3")
    assert (told[headers.ORIGINAL_QUEUE], told[headers.ORIGINAL_ROUTING_KEY]) == ("orders", "orders")
    assert told[headers.ORIGINAL_EXPIRATION] == "60000"
    assert told[headers.FIRST_FAILURE_AT] < told[headers.PARKED_AT]
    assert not [name for name in told if name.startswith("x-death")]


def test_what_is_given_up_on_is_parked_at_once(bench: Bench) -> None:
    """And so is what the policy does not name."""

    def behave(delivery: Delivery) -> None:
        raise Hopeless if delivery.body == b"hopeless" else ValueError

    worker = handle_all(bench, RetryPolicy(on=Exception, give_up_on=Hopeless, backoff=0.01, max_attempts=2), behave)
    bench.publisher.publish_many("orders", [b"hopeless", b"other"]).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 2)
    attempts = {one.body: one.headers[headers.ATTEMPT] for one in (bench.take("orders.dead") for _ in range(2))}
    assert attempts == {b"hopeless": 1, b"other": 2}


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_may_ask_for_any_delay(bench: Bench, is_async: bool) -> None:
    """Waited in the policy's queues and in the worker together; within 10 % or 250 ms."""
    worker = bench.worker()
    moments: list[float] = []

    def behave() -> None:
        moments.append(time.monotonic())
        if len(moments) == 1:
            raise Retry("too early", delay=3.4)

    policy = RetryPolicy(backoff=(1, 2))
    if is_async:

        @worker.consumer("orders", retry=policy)
        async def handle_async(body: str) -> None:
            await asyncio.sleep(0)
            behave()
    else:

        @worker.consumer("orders", retry=policy)
        def handle(body: str) -> None:
            behave()

    worker.start()
    bench.publisher.publish("orders", "x")
    bench.wait(lambda: worker.stats().handled == 1)
    assert abs(moments[1] - moments[0] - 3.4) <= 0.35
    assert worker.stats().retried == 1
    assert worker.stats().delayed == 1  # the wait of 2 s; the rest was waited in the worker


def test_the_delays_of_the_queues_are_kept(bench: Bench) -> None:
    """Within 10 % or 250 ms, for many messages that fail at once, and again and again through the same queues.

    None is early. As other tests use the same processors, one in ten may be late; half are 150 ms inside the bound.
    """
    seen: dict[str, list[float]] = defaultdict(list)

    def behave(delivery: Delivery) -> None:
        seen[str(delivery.message_id)].append(time.monotonic())
        if delivery.attempt < 5:
            raise ValueError("again")

    worker = handle_all(bench, RetryPolicy(backoff=(1, 2, 1, 2), hold=0), behave)
    count = 60
    for number in range(count):
        bench.publisher.submit("orders", b"x", message_id=str(number))
    bench.wait(lambda: worker.stats().handled == count, timeout=40)
    assert worker.stats().delayed == 4 * count
    waits = [
        (expected, later - earlier)
        for moments in seen.values()
        for expected, earlier, later in zip((1, 2, 1, 2), moments[:-1], moments[1:], strict=True)
    ]
    assert min(waited - expected for expected, waited in waits) > -0.05
    late = sorted(waited - expected - max(0.1 * expected, 0.25) for expected, waited in waits)
    assert late[len(late) * 9 // 10] <= 0, f"the latest are {[round(one, 3) for one in late[-50:]]} s over the bound"
    assert late[len(late) // 2] <= -0.15, f"half of them are {late[len(late) // 2]:.3f} s over the bound, or more"
    bench.wait_empty(worker, "orders", "orders.retry.1s", "orders.retry.2s", "orders.dead")


def test_what_waits_in_a_queue_outlives_its_worker(bench: Bench) -> None:
    """Another worker makes the next attempt, and knows which one it is."""
    policy = RetryPolicy(backoff=(2,))

    def fail(delivery: Delivery) -> None:
        raise ValueError("not here")

    first = handle_all(bench, policy, fail)
    bench.publisher.publish("orders", "x")
    bench.wait(lambda: first.stats().delayed == 1)
    assert first.stop()
    attempts: list[int] = []
    second = handle_all(bench, policy, lambda delivery: attempts.append(delivery.attempt))
    bench.wait(lambda: second.stats().handled == 1)
    assert attempts == [2]


def test_what_waits_in_a_worker_that_stops_goes_back(bench: Bench) -> None:
    """At once: a stop does not wait for retries."""
    policy = RetryPolicy(backoff=(50,), hold=60)

    def fail(delivery: Delivery) -> None:
        raise ValueError("not here")

    worker = handle_all(bench, policy, fail)
    bench.publisher.publish("orders", "x")
    bench.wait(lambda: worker.stats().held_back == 1)
    started = time.monotonic()
    assert worker.stop()
    assert time.monotonic() - started < 5
    bench.wait_count("orders", 1)


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_attempts_in_the_worker_do_not_run_into_the_brokers_consumer_timeout(bench: Bench, kind: Any) -> None:
    """Waiting is not being slow: all attempts are made, each is counted, and none of it is taken for an overdue handler."""
    policy = RetryPolicy(max_attempts=7, backoff=0.6, jitter=0)
    attempts: list[int] = []

    def behave(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("not yet")

    worker = handle_all(bench, policy, behave, queue=Queue("orders", type=kind), delivery_timeout=3)
    bench.publisher.publish("orders", "x")
    parked = bench.take("orders.dead", timeout=40)
    assert (parked.headers[headers.REASON], parked.headers[headers.ATTEMPT]) == ("exception", 7)
    assert attempts == list(range(1, 8))
    stats = worker.stats()
    assert (stats.overdue, stats.parked) == (0, 1)
    assert stats.delayed >= 1
    bench.wait_empty(worker, "orders", "orders.dead")


def test_failing_messages_do_not_keep_the_others_out(bench: Bench) -> None:
    """At most half of the prefetch waits in the worker; the rest waits in a queue."""

    def behave(delivery: Delivery) -> None:
        if delivery.body == b"bad" and delivery.attempt == 1:
            raise ValueError("later")

    worker = handle_all(bench, RetryPolicy(backoff=(5, 6), hold=5), behave, prefetch=10, concurrency=2)
    bench.publisher.publish_many("orders", [b"bad"] * 30 + [b"good"] * 30).raise_for_failures()
    bench.wait(lambda: worker.stats().handled >= 30, "the good ones", timeout=4.5)
    assert worker.stats().delayed >= 25


def test_a_retry_queue_that_was_deleted_is_declared_again(bench: Bench) -> None:
    """The message stays in its own queue until its copy is safe."""
    attempts: Counter[int] = Counter()

    def behave(delivery: Delivery) -> None:
        attempts[delivery.attempt] += 1
        if delivery.attempt == 1:
            raise ValueError("again")

    worker = handle_all(bench, RetryPolicy(backoff=(1,), hold=0), behave)
    with bench.pool.channel() as channel:
        channel.queue_delete("orders.retry.1s")
    bench.publisher.publish("orders", "x")
    bench.wait(lambda: worker.stats().handled == 1)
    assert attempts == {1: 1, 2: 1}


def test_headers_that_fill_a_frame_do_not_stop_a_retry(bench: Bench) -> None:
    """Ours are shortened or left out; the message's own travel."""
    own = {f"header-{number}": "x" * 1000 for number in range(120)}

    def behave(delivery: Delivery) -> None:
        if delivery.attempt < 3:
            raise ValueError("y" * 100_000)

    worker = handle_all(bench, RetryPolicy(backoff=(1,), hold=0), behave)
    bench.publisher.publish("orders", "x", headers=own)
    bench.wait(lambda: worker.stats().handled == 1)
    assert worker.stats().delaying_failed == 0


def test_where_it_was_published_to_is_still_known(bench: Bench) -> None:
    """It comes back through the default exchange, whatever it was routed by before."""
    seen: list[tuple[str, str]] = []
    with bench.pool.channel() as channel:
        channel.exchange_declare("events", "topic", durable=True)

    def behave(delivery: Delivery) -> None:
        seen.append((delivery.original_exchange, delivery.original_routing_key))
        if delivery.attempt == 1:
            raise ValueError("again")

    worker = handle_all(bench, RetryPolicy(backoff=(1,), hold=0), behave)
    with bench.pool.channel() as channel:
        channel.queue_bind("orders", "events", "order.*")
    bench.publisher.publish_to("events", "order.created", "x")
    bench.wait(lambda: worker.stats().handled == 1)
    assert seen == [("events", "order.created")] * 2


def test_a_long_retry_without_a_policy_is_parked(bench: Bench) -> None:
    """Nothing could hold it back for so long: it says so instead of coming earlier."""
    worker = bench.worker()

    @worker.consumer("orders")
    def handle(body: str) -> None:
        raise Retry("tomorrow", delay=86_400)

    worker.start()
    bench.publisher.publish("orders", "x")
    bench.wait(lambda: worker.stats().parked == 1)
    assert bench.take("orders.dead").headers[headers.REASON] == "retry:tomorrow"
