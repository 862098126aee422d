"""Order: by key within a process, and over processes by a single active consumer."""

import asyncio
import random
import threading
import time
from collections import defaultdict

import pytest

from rmqpool import Backoff, Binding, ConfigurationError, Delivery, Exchange, Queue, Reject, RetryPolicy
from rmqpool.middlewares import BreakerPolicy, CircuitBreaker


def publish_keys(bench, keys, each):
    """`each` numbered messages of every key, mixed."""
    rows = [(key, number) for number in range(each) for key in keys]
    bench.publisher.publish_many(
        "orders", [{"key": key, "number": number} for key, number in rows]
    ).raise_for_failures()


def key_of(delivery: Delivery) -> str:
    """The key as it stands in the body."""
    return delivery.body.split(b'"')[3].decode()


class Seen:
    """What was handled of each key, and whether two of one key ever were at once. Thread-safe."""

    def __init__(self):
        self.lock = threading.Lock()
        self.numbers = defaultdict(list)
        self.running = set()
        self.most = 0
        self.together = 0

    def begin(self, body):
        with self.lock:
            self.together += body["key"] in self.running
            self.running.add(body["key"])
            self.most = max(self.most, len(self.running))
            self.numbers[body["key"]].append(body["number"])

    def end(self, body):
        with self.lock:
            self.running.discard(body["key"])


@pytest.mark.parametrize("is_async", [False, True])
def test_messages_of_one_key_are_handled_in_order_and_never_two_at_once(bench, is_async):
    """While those of other keys run beside them."""
    worker, seen, chance = bench.worker(), Seen(), random.Random(7)
    if is_async:

        @worker.consumer("orders", concurrency=6, prefetch=200, key=key_of)
        async def handle(body: dict) -> None:
            seen.begin(body)
            await asyncio.sleep(chance.random() * 0.004)
            seen.end(body)
    else:

        @worker.consumer("orders", concurrency=6, prefetch=200, key=key_of)
        def handle(body: dict) -> None:
            seen.begin(body)
            time.sleep(chance.random() * 0.004)
            seen.end(body)

    worker.start()
    publish_keys(bench, "abcdefghij", 40)
    bench.wait(lambda: worker.stats().handled == 400, timeout=20)
    assert seen.numbers == {key: list(range(40)) for key in "abcdefghij"}
    assert seen.together == 0
    assert 2 <= seen.most <= 6
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_slow_key_holds_up_no_other(bench):
    """One of it is in hand; the others wait behind it, and take no thread."""
    worker, go_on, done = bench.worker(), threading.Event(), []

    @worker.consumer("orders", concurrency=2, prefetch=100, key=key_of)
    def handle(body: dict) -> None:
        if body["key"] == "slow":
            go_on.wait(10)
        done.append(body["key"])

    worker.start()
    publish_keys(bench, ["slow"], 5)
    publish_keys(bench, ["quick"], 20)
    bench.wait(lambda: done == ["quick"] * 20)
    assert worker.stats().in_progress == 1
    assert worker.stats().consumers[0].waiting == 4
    go_on.set()
    bench.wait(lambda: done.count("slow") == 5)
    bench.wait_empty(worker, "orders")


def test_a_message_that_is_parked_lets_the_next_of_its_key_go(bench):
    """It does not stand in the way of the others."""
    worker, done = bench.worker(), []

    @worker.consumer("orders", key=key_of)
    def handle(body: dict) -> None:
        if body["number"] == 1:
            raise Reject("bad")
        done.append(body["number"])

    worker.start()
    publish_keys(bench, ["a"], 4)
    bench.wait(lambda: worker.stats().handled == 3 and worker.stats().parked == 1)
    assert done == [0, 2, 3]
    bench.wait_empty(worker, "orders")


def test_a_message_that_is_tried_again_soon_keeps_its_place(bench):
    """It waits in the worker, and the next of its key behind it; other keys go on meanwhile."""
    worker, done = bench.worker(), []

    @worker.consumer("orders", key=key_of, retry=RetryPolicy(max_attempts=3, backoff=0.5))
    def handle(body: dict, delivery: Delivery) -> None:
        if (body["key"], body["number"]) == ("a", 0) and delivery.attempt < 3:
            raise ValueError("not yet")
        done.append((body["key"], body["number"]))

    worker.start()
    publish_keys(bench, "ab", 4)
    bench.wait(lambda: worker.stats().handled == 8)
    assert done == [(key, number) for key in "ba" for number in range(4)]
    assert (worker.stats().held_back, worker.stats().delayed) == (2, 0)
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_message_that_waits_in_a_retry_queue_lets_the_next_of_its_key_go(bench):
    """It comes behind them."""
    worker, done = bench.worker(), []

    @worker.consumer("orders", key=key_of, retry=RetryPolicy(backoff=1, hold=0.1))
    def handle(body: dict, delivery: Delivery) -> None:
        if body["number"] == 0 and delivery.attempt == 1:
            raise ValueError("not yet")
        done.append(body["number"])

    worker.start()
    publish_keys(bench, "a", 4)
    bench.wait(lambda: worker.stats().handled == 4)
    assert done == [1, 2, 3, 0]
    bench.wait_empty(worker, "orders", "orders.dead")


@pytest.mark.parametrize("bad", ["raises", "unhashable"])
def test_a_message_whose_key_cannot_be_told_is_parked(bench, bad):
    """With the reason key:error; the others are handled."""
    worker, done = bench.worker(), []

    def key(delivery: Delivery):
        if b"bad" not in delivery.body:
            return "one"
        return {}["no such key"] if bad == "raises" else []

    @worker.consumer("orders", key=key)
    def handle(body: dict) -> None:
        done.append(body["number"])

    worker.start()
    publish_keys(bench, ["good", "bad"], 2)
    bench.wait(lambda: worker.stats().handled == 2 and worker.stats().parked == 2)
    parked = bench.take("orders.dead")
    assert parked.headers["x-rmqpool-reason"] == "key:error"
    assert parked.headers["x-rmqpool-exception-type"] == ("KeyError" if bad == "raises" else "TypeError")
    assert done == [0, 1]
    worker.stop()


def test_a_stop_gives_back_what_waits_for_its_key(bench):
    """What runs may end."""
    worker, begun, go_on = bench.worker(), threading.Event(), threading.Event()

    @worker.consumer("orders", concurrency=4, key=key_of)
    def handle(body: dict) -> None:
        begun.set()
        go_on.wait(10)

    worker.start()
    publish_keys(bench, ["a"], 6)
    assert begun.wait(10)
    bench.wait(lambda: worker.stats().consumers[0].waiting == 5)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    bench.wait_count("orders", 5)
    go_on.set()
    stopping.join(10)
    assert (worker.stats().handled, worker.stats().requeued) == (1, 5)
    bench.wait_count("orders", 5)


def test_a_burst_ends_with_every_key_done(bench):
    """Also those that waited."""
    worker, seen = bench.worker(declare=[Queue("orders")]), Seen()

    @worker.consumer("orders", key=key_of)
    def handle(body: dict) -> None:
        seen.begin(body)
        seen.end(body)

    worker.start()
    publish_keys(bench, "abc", 10)
    worker.stop()
    assert worker.run(burst=True) == 0
    assert sum(map(len, seen.numbers.values())) >= 30
    bench.wait_count("orders", 0)


def test_a_key_and_a_batch_are_refused_together(bench):
    """And a key that is no function."""
    worker = bench.worker()
    with pytest.raises(ConfigurationError, match="a batch and a key"):
        worker.consumer("orders", batch=5, key=key_of)(lambda bodies: None)
    with pytest.raises(ConfigurationError, match="give a plain function of the delivery"):
        worker.consumer("orders", key="customer")(lambda body: None)


def test_a_single_active_consumer_keeps_order_over_two_workers(bench):
    """One worker gets everything; when it stops the other goes on where it was."""
    queue = Queue("orders", single_active_consumer=True)
    workers, done = [bench.worker("first"), bench.worker("second")], []
    for worker in workers:

        def handle(body: dict, delivery: Delivery, name: str = worker.name) -> None:
            done.append((name, body["number"]))

        worker.consumer(queue, concurrency=1)(handle)
        worker.start()
    publish_keys(bench, ["a"], 50)
    bench.wait(lambda: len(done) == 50)
    assert {name for name, _ in done} == {"first"}
    workers[0].stop()
    publish_keys(bench, ["a"], 50)
    bench.wait(lambda: len(done) == 100)
    assert done == [(name, number) for name in ("first", "second") for number in range(50)]
    assert workers[1].stats().handled == 50
    bench.wait_empty(workers[1], "orders")


def test_a_single_active_consumer_that_stops_hands_over_when_its_handlers_have_ended(bench):
    """The broker would let the other one begin as soon as the first is cancelled; and nothing comes out of order."""
    queue, done, early = Queue("orders", single_active_consumer=True), [], []
    begun, other = threading.Event(), threading.Event()
    first, second = bench.worker("first"), bench.worker("second")

    @first.consumer(queue, concurrency=1, prefetch=16)
    def handle_first(body: dict) -> None:
        begun.set()
        early.append(other.wait(1.0))  # as long as the other one has to show that it does begin
        done.append(body["number"])

    @second.consumer(queue, concurrency=1, prefetch=16)
    def handle_second(body: dict) -> None:
        other.set()
        done.append(body["number"])

    first.start()
    second.start()
    publish_keys(bench, ["a"], 60)
    assert begun.wait(30)
    assert first.stop()
    bench.wait(lambda: len(done) >= 60, timeout=30)
    assert early == [False]
    assert done == list(range(60))
    assert (first.stats().handled, first.stats().requeued) == (1, 15)
    bench.wait_empty(second, "orders")


def test_a_single_active_consumer_that_a_breaker_pauses_keeps_its_queue(bench):
    """What it keeps is handled in its place, before what is behind it; the other worker gets nothing."""
    queue, done, down = Queue("orders", single_active_consumer=True), [], threading.Event()
    policy = BreakerPolicy(minimum=1, pause=Backoff(0.2, 0.4))
    breaker = CircuitBreaker("bank", on=ConnectionError, policy=policy)
    first, second = bench.worker("first", middleware=[breaker]), bench.worker("second")
    down.set()

    def handle(body: dict, delivery: Delivery, worker) -> None:
        if down.is_set() and worker is first:
            raise ConnectionError("no bank")
        done.append((worker.name, body["number"]))

    for worker in (first, second):

        def call(body: dict, delivery: Delivery, worker=worker) -> None:
            handle(body, delivery, worker)

        worker.consumer(queue, concurrency=1, prefetch=4, key=key_of)(call)
        worker.start()
    publish_keys(bench, ["a"], 20)
    bench.wait(lambda: first.stats().consumers[0].paused, timeout=30)
    assert not first.is_ready
    down.clear()
    bench.wait(lambda: len(done) >= 20, timeout=30)
    assert done == [("first", number) for number in range(20)]
    bench.wait(lambda: first.is_ready, timeout=30)


def test_a_consistent_hash_exchange_keeps_each_key_in_one_queue(managed_url, bench_on):
    """Two workers on four queues with single active consumers: every key in order, all of it in one queue and one worker."""
    bench = bench_on(managed_url)
    exchange = Exchange("by-customer", type="x-consistent-hash")
    shards = [Queue(f"orders.{number}", single_active_consumer=True) for number in range(4)]
    topology = [exchange, *shards, *(Binding(exchange.name, shard.name, routing_key="1") for shard in shards)]
    seen, done = defaultdict(list), []
    for name in ("first", "second"):
        worker = bench.worker(name, declare=topology)

        def handle(number: int, delivery: Delivery, name: str = name) -> None:
            seen[delivery.routing_key].append((name, delivery.queue, number))
            done.append(number)

        for shard in shards:
            worker.consumer(shard, key=lambda delivery: delivery.routing_key)(handle)
        worker.start()
    for number in range(20):
        for customer in range(20):
            bench.publisher.submit_to(exchange.name, f"customer-{customer}", number)
    assert bench.publisher.flush(timeout=10)
    bench.wait(lambda: len(done) == 400)
    assert len(seen) == 20
    for handled in seen.values():
        assert [number for _, _, number in handled] == list(range(20))
        assert len({(name, queue) for name, queue, _ in handled}) == 1
    assert len({queue for handled in seen.values() for _, queue, _ in handled}) > 1
