"""Handlers in child processes together with the rest: replies, middleware, order by key, retries in the worker, guards."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from rmqpool import ConfigurationError, Delivery, Middleware, Reject, RemoteError, RetryPolicy
from rmqpool import headers as names
from rmqpool.errors import DecodeError, TimeLimitExceededError, WorkerError
from tests.integration.worker import child_handlers as handlers


class Recorder(Middleware):
    """Writes down what it is told, by message id."""

    def __init__(self):
        self.told = {}

    def before_handle(self, delivery):
        self.told[delivery.message_id] = []
        return delivery.message_id

    def after_handle(self, delivery, state, result):
        self.told[state].append(result)

    def on_handle_error(self, delivery, state, error):
        self.told[state].append((type(error), str(error)))


def test_what_a_child_returns_is_the_reply(bench):
    """Encoded by the child; whoever asked is told of every other end, too."""
    worker = bench.worker()
    worker.consumer("prices", executor="process", concurrency=2, poison_after=1)(handlers.price)

    def ask(what):
        return bench.publisher.call("prices", {"id": 125, "do": what}, timeout=20, reply_type=handlers.Price)

    with worker, ThreadPoolExecutor(4) as callers:
        told = {what: callers.submit(ask, what) for what in ("answer", "lambda", "reject", "exit")}
        assert told["answer"].result().body == handlers.Price(250)
        for what, reason in (("lambda", "reply:encode"), ("reject", "rejected:no such article"), ("exit", "poison:")):
            with pytest.raises(RemoteError, match=reason):
                told[what].result()
        bench.wait(lambda: worker.stats().answered == 1 and worker.stats().parked == 3)
        stats = worker.stats()
        assert (stats.handled, stats.failed, stats.rejected, stats.poisoned) == (2, 2, 1, 1)
    bench.wait_count("prices", 0)


def test_middleware_sees_what_was_raised_in_a_child(bench, lines):
    """Exceptions of the class that the handler raised, and the worker's own words for what killed it."""
    recorder = Recorder()
    worker = bench.worker(middleware=[recorder])
    worker.consumer("typed", executor="process", concurrency=1)(handlers.typed)
    worker.consumer("verdicts", executor="process", concurrency=1)(handlers.verdict)
    worker.consumer("crashes", executor="process", concurrency=1, poison_after=1)(handlers.crash)
    worker.consumer("slow", executor="process", concurrency=1, hard_time_limit=0.5)(handlers.slow)
    worker.start()
    for name, queue, body in (
        ("good", "typed", {"id": 1, "file": lines.file}),
        ("bad", "typed", {"id": "one"}),
        ("wrong", "verdicts", {"do": "raise"}),
        ("rejected", "verdicts", {"do": "reject"}),
        ("poison", "crashes", {"do": "exit"}),
        ("late", "slow", {"id": 1, "do": "sleep", "file": lines.file}),
    ):
        bench.publisher.publish(queue, body, message_id=name)
    bench.wait(lambda: worker.stats().parked == 5 and worker.stats().handled == 1, timeout=20)
    kinds = {name: ends[0][0] if ends[0] is not None else None for name, ends in recorder.told.items()}
    assert kinds == {
        "good": None,
        "bad": DecodeError,
        "wrong": handlers.UnknownPriceError,
        "rejected": Reject,
        "poison": WorkerError,
        "late": TimeLimitExceededError,
    }
    assert recorder.told["wrong"] == [(handlers.UnknownPriceError, "a wrong price")]
    worker.stop()


def test_the_messages_of_one_key_are_in_order_in_children(bench, lines):
    """One of a key at a time, whichever child has it; other keys go on beside it."""
    worker = bench.worker()
    consumer = worker.consumer(
        "orders", executor="process", concurrency=3, key=lambda delivery: delivery.headers["customer"]
    )
    consumer(handlers.numbered)
    worker.start()
    for number in range(6):
        for key in "abc":
            order = {"key": key, "number": number, "file": lines.file}
            bench.publisher.submit("orders", order, headers={"customer": key})
    bench.wait(lambda: worker.stats().handled == 18, timeout=20)
    for key in "abc":
        told = [line.split() for line in lines() if f" {key} " in line]
        assert told == [[word, key, str(number)] for number in range(6) for word in ("begin", "end")]
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_message_that_failed_in_a_child_keeps_its_place_until_the_next_attempt(bench, lines):
    """The policy holds it back in the worker, and the next of its key behind it."""
    worker = bench.worker()
    consumer = worker.consumer(
        "orders", executor="process", concurrency=2, key=lambda delivery: "one", retry=RetryPolicy(backoff=0.3)
    )
    consumer(handlers.twice)
    worker.start()
    bench.publisher.publish_many("orders", [{"id": n, "file": lines.file} for n in range(3)]).raise_for_failures()
    bench.wait(lambda: worker.stats().handled == 3)
    assert [line.split()[0] for line in lines()] == ["0", "1", "2"]
    assert worker.stats().held_back == 3
    bench.wait_empty(worker, "orders", "orders.dead")


def test_an_overdue_message_of_a_child_is_parked(bench, lines):
    """The child goes on with it until its own limit, and what waits behind it goes back."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1, prefetch=2, delivery_timeout=1.5)(handlers.slow)
    worker.start()
    orders = [{"id": n, "file": lines.file, "do": "sleep", "seconds": 60} for n in range(2)]
    bench.publisher.publish_many("orders", orders).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 1 and worker.stats().requeued >= 1)
    assert bench.take("orders.dead").headers[names.REASON] == "overdue"
    assert len(lines()) == 1
    worker.stop(0)
    bench.wait_count("orders", 1)


def test_a_batch_in_a_child_is_refused(bench):
    """With the reason, when the module is imported."""

    def handle(orders: list[dict], deliveries: list[Delivery]) -> None: ...

    with pytest.raises(ConfigurationError, match="a batch and executor='process', where one message after the other"):
        bench.worker().consumer("orders", batch=10, executor="process")(handle)


async def limited(numbers: list[int]) -> None:
    """Takes too long."""
    import asyncio

    await asyncio.sleep(30)


def test_a_time_limit_ends_a_batch_of_coroutines(bench):
    """Without a process: each message of it fails."""
    worker = bench.worker()
    worker.consumer("orders", batch=2, time_limit=0.2)(limited)
    worker.start()
    bench.publisher.publish_many("orders", [1, 2]).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 2)
    assert worker.stats().timed_out == 2
    assert bench.take("orders.dead").headers[names.REASON] == "time-limit"
    worker.stop()
