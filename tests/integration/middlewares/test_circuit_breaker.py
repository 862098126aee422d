"""A dependency fails: consuming stops, no message is lost or parked for it, one message tries it, and consuming goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import Backoff, ConfigurationError, Delivery, RetryPolicy, Worker, headers
from rmqpool.middlewares import BreakerPolicy, BreakerState, CircuitBreaker
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.integration.worker.conftest import Bench

QUICK = BreakerPolicy(minimum=3, pause=Backoff(0.2, 0.4), patience=5)


class BankDown(Exception):
    """The dependency does not answer."""


class Bank:
    """A dependency that fails while it is told to."""

    def __init__(self) -> None:
        self.down = threading.Event()
        self.down.set()
        self.calls: list[int] = []
        self.paid: list[int] = []
        self._lock = threading.Lock()

    def pay(self, number: int) -> None:
        with self._lock:
            self.calls.append(number)
        if self.down.is_set():
            raise BankDown(f"cannot pay {number}")
        with self._lock:
            self.paid.append(number)


def paying(bench: Bench, breaker: CircuitBreaker, pay: Callable[[int], Any], is_async: bool, **options: Any) -> Worker:
    """A worker whose handler calls the dependency."""
    worker = bench.worker(middleware=[breaker])
    if is_async:

        @worker.consumer("orders", **options)
        async def handle_async(number: int) -> None:
            pay(number)
    else:

        @worker.consumer("orders", **options)
        def handle(number: int) -> None:
            pay(number)

    return worker


@pytest.mark.parametrize("is_async", [False, True])
def test_consuming_pauses_while_a_dependency_is_down_and_goes_on_when_it_works(bench: Bench, is_async: bool) -> None:
    """Every message is handled once in the end, none is parked; the dependency is left alone in between."""
    bank, changes = Bank(), list[BreakerState]()
    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK, on_change=lambda state, sentence: changes.append(state))
    worker = paying(bench, breaker, bank.pay, is_async, concurrency=4)
    worker.start()
    bench.publisher.publish_many("orders", range(100)).raise_for_failures()
    bench.wait(lambda: breaker.state is BreakerState.OPEN)
    bench.wait(lambda: not worker.is_ready)
    paused = worker.stats().consumers[0].paused
    assert "bank" in paused
    assert "BankDown" in paused
    bench.wait(lambda: changes.count(BreakerState.HALF_OPEN) >= 3)
    assert len(bank.calls) < 30
    bank.down.clear()
    bench.wait(lambda: len(bank.paid) == 100)
    assert sorted(bank.paid) == list(range(100))
    bench.wait(lambda: worker.is_ready)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.opened == 1
    assert changes[-1] is BreakerState.CLOSED
    assert worker.stats().consumers[0].paused == ""
    assert (worker.stats().parked, worker.stats().failed) == (0, 0)
    assert worker.stats().postponed > 0
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_single_message_is_not_parked_for_a_dependency_that_is_down(bench: Bench) -> None:
    """Alone in its queue it opens the breaker, and then is its probe; a retry policy's attempts are not used up."""
    bank = Bank()
    breaker = CircuitBreaker("bank", on=(BankDown, OSError), policy=QUICK)
    worker = paying(bench, breaker, bank.pay, False, retry=RetryPolicy(max_attempts=2, backoff=0.1))
    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: len(bank.calls) >= 6)
    bank.down.clear()
    bench.wait(lambda: bank.paid == [1])
    assert worker.stats().retried == worker.stats().parked == worker.stats().failed == 0
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_message_that_alone_makes_it_fail_meets_its_own_fate(bench: Bench) -> None:
    """While others are answered, it is tried as often as it takes to open the breaker, and then parked."""
    bank = Bank()
    bank.down.clear()

    def pay(number: int) -> None:
        if number == 13:
            raise BankDown("the bank hangs up on 13")
        bank.pay(number)

    breaker = CircuitBreaker("bank", on=BankDown, policy=BreakerPolicy(minimum=3, failure_rate=0.9))
    worker = paying(bench, breaker, pay, False, concurrency=1)
    worker.start()
    bench.publisher.publish("orders", 1)
    bench.publisher.publish("orders", 13)
    numbers = iter(range(100, 10_000))

    def parked() -> bool:
        bench.publisher.publish("orders", next(numbers))
        return worker.stats().parked == 1

    bench.wait(parked)
    assert breaker.opened == 0
    assert bench.take("orders.dead").headers[headers.EXCEPTION_TYPE].endswith("BankDown")


def test_a_message_that_opens_it_alone_does_not_keep_the_others_out(bench: Bench) -> None:
    """Another message becomes the probe, and the rest of the queue is handled."""
    bank = Bank()
    bank.down.clear()

    def pay(number: int) -> None:
        if number == 13:
            raise BankDown("the bank hangs up on 13")
        bank.pay(number)

    breaker = CircuitBreaker("bank", on=lambda error: type(error) is BankDown, policy=QUICK)
    worker = paying(bench, breaker, pay, False, concurrency=1, prefetch=1)
    worker.start()
    bench.publisher.publish("orders", 13)
    bench.wait(lambda: breaker.opened == 1)
    bench.publisher.publish_many("orders", range(10)).raise_for_failures()
    bench.wait(lambda: len(bank.paid) == 10)
    bench.wait(lambda: worker.stats().parked == 1)
    bench.wait_empty(worker, "orders")


def test_other_exceptions_say_nothing_of_the_dependency(bench: Bench) -> None:
    """They are parked as ever, and the breaker stays closed; as a probe, such a message lets the next one try."""
    bank = Bank()

    def pay(number: int) -> None:
        if number < 0:
            raise ValueError("nothing to pay")
        bank.pay(number)

    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK)
    worker = paying(bench, breaker, pay, False, concurrency=1, prefetch=4)
    worker.start()
    bench.publisher.publish_many("orders", [-1, -2, -3, -4, -5]).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 5)
    assert breaker.opened == 0
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: breaker.state is BreakerState.OPEN)
    bench.publisher.publish_many("orders", [-6, -7, 2]).raise_for_failures()
    bank.down.clear()
    bench.wait(lambda: sorted(bank.paid) == [1, 2])
    bench.wait(lambda: worker.stats().parked == 7)


def test_what_was_kept_for_too_long_goes_back_to_its_queue(bench: Bench) -> None:
    """Other workers, whose dependency works, may take it."""
    bank = Bank()
    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK, hold=0.5)
    worker = paying(bench, breaker, bank.pay, False, concurrency=1)
    worker.start()
    bench.publisher.publish_many("orders", range(4)).raise_for_failures()
    bench.wait(lambda: worker.stats().requeued >= 4)
    bank.down.clear()
    bench.wait(lambda: sorted(bank.paid) == [0, 1, 2, 3])
    assert worker.stats().parked == 0


def test_a_worker_stops_at_once_while_the_breaker_is_open(bench: Bench, seconds: Callable[[], float]) -> None:
    """What it keeps goes back to the queue, and nothing is lost; the next run begins paused, and recovers."""
    bank = Bank()
    breaker = CircuitBreaker("bank", on=BankDown, policy=BreakerPolicy(minimum=3, pause=Backoff(3, 3), jitter=0))
    worker = paying(bench, breaker, bank.pay, False, concurrency=2)
    worker.start()
    bench.publisher.publish_many("orders", range(20)).raise_for_failures()
    bench.wait(lambda: breaker.state is BreakerState.OPEN)
    before = seconds()
    assert worker.stop()
    assert seconds() - before < 2
    bench.wait_count("orders", 20)
    bank.down.clear()
    worker.start()
    assert seconds() - before < 3
    assert not worker.is_ready
    bench.wait(lambda: len(bank.paid) == 20)
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_lost_connection_while_it_is_open_loses_no_message_and_no_probe(
    bench_on: Callable[[str], Bench], private_broker: RabbitMQNode
) -> None:
    """What it kept is delivered again; as nothing that was kept can try the dependency, a message is asked for."""
    private_broker.add_vhost("breaker")
    bench = bench_on(private_broker.amqp_url(vhost="breaker"))
    bank = Bank()
    policy = BreakerPolicy(minimum=3, pause=Backoff(1, 1), jitter=0)
    breaker = CircuitBreaker("bank", on=BankDown, policy=policy)
    worker = paying(bench, breaker, bank.pay, False, concurrency=2)
    worker.start()
    bench.publisher.publish_many("orders", range(20)).raise_for_failures()
    bench.wait(lambda: breaker.state is BreakerState.OPEN)
    private_broker.close_all_connections("test")
    bank.down.clear()
    bench.wait(lambda: set(bank.paid) == set(range(20)), timeout=20)
    assert worker.stats().stale > 0
    assert worker.stats().parked == 0
    bench.wait_empty(worker, "orders")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_dependency_that_comes_and_goes_costs_no_message(bench: Bench, is_async: bool) -> None:
    """Down and up again and again, with messages that fail for themselves in between: each ends as it should, counted."""
    bank = Bank()
    bank.down.clear()

    def pay(number: int) -> None:
        if number % 100 == 99:
            raise ValueError("nothing to pay")
        bank.pay(number)

    policy = BreakerPolicy(minimum=3, pause=Backoff(0.02, 0.05), patience=5)
    # One message may fail once at the beginning of each of the six outages: with 3 tries it would be parked.
    breaker = CircuitBreaker("bank", on=BankDown, policy=policy, tries=100)
    worker = paying(bench, breaker, pay, is_async, concurrency=8, prefetch=50)
    worker.start()
    futures = [bench.publisher.submit("orders", number) for number in range(2000)]
    for opened in range(1, 7):
        bank.down.set()
        bench.wait(lambda wanted=opened: breaker.opened >= wanted or len(bank.paid) == 1980)
        bank.down.clear()
        bench.wait(lambda: breaker.state is BreakerState.CLOSED)
    for future in futures:
        future.result(10)
    bench.wait(lambda: len(bank.paid) == 1980 and worker.stats().parked == 20, timeout=20)
    assert sorted(bank.paid) == [number for number in range(2000) if number % 100 != 99]
    stats = worker.stats()
    assert (stats.handled, stats.failed, stats.stale, stats.requeued) == (1980, 20, 0, 0)
    assert breaker.opened >= 1
    bench.wait_empty(worker, "orders")


def test_a_failure_is_the_messages_own_until_the_breaker_opens_when_told_so(bench: Bench) -> None:
    """With tries=1 the retry policy has the first ones, and counts them; what comes when it is open costs no attempt."""
    attempts: dict[int, list[int]] = {}
    down = threading.Event()
    down.set()
    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK, tries=1)
    worker = bench.worker(middleware=[breaker])

    @worker.consumer("orders", concurrency=1, retry=RetryPolicy(max_attempts=9, backoff=0.1))
    def pay(number: int, delivery: Delivery) -> None:
        attempts.setdefault(number, []).append(delivery.attempt)
        if down.is_set():
            raise BankDown

    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: len(attempts.get(1, ())) >= 6)
    down.clear()
    bench.wait(lambda: worker.stats().handled == 1)
    assert attempts[1][:3] == [1, 2, 3]
    assert set(attempts[1][3:]) == {3}
    bench.wait_empty(worker, "orders", "orders.dead")


def test_consumers_of_one_dependency_share_its_breaker(bench: Bench) -> None:
    """One opens it, both are paused, one probe is enough for both."""
    bank = Bank()
    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK)
    worker = bench.worker(middleware=[breaker])
    for queue in ("orders", "refunds"):
        worker.consumer(queue)(lambda number: bank.pay(number))
    worker.start()
    bench.publisher.publish_many("orders", range(5)).raise_for_failures()
    bench.wait(lambda: all(one.paused for one in worker.stats().consumers))
    bench.publisher.publish_many("refunds", range(5, 10)).raise_for_failures()
    bank.down.clear()
    bench.wait(lambda: sorted(bank.paid) == list(range(10)))
    assert not any(one.paused for one in worker.stats().consumers)
    assert worker.stats().parked == 0


def test_what_happens_is_said_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A pause and its end are in the log, with the exception that began it; a listener that fails does no harm."""

    def listen(state: BreakerState, sentence: str) -> None:
        raise OSError("nobody listens")

    bank = Bank()
    breaker = CircuitBreaker("bank", on=BankDown, policy=QUICK, on_change=listen)
    worker = paying(bench, breaker, bank.pay, False)
    with caplog.at_level(logging.INFO, "rmqpool"):
        worker.start()
        bench.publisher.publish_many("orders", range(10)).raise_for_failures()
        bench.wait(lambda: breaker.state is BreakerState.OPEN)
        bank.down.clear()
        bench.wait(lambda: len(bank.paid) == 10)
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if "queue 'orders' is paused: bank fails" in text]) == 1
    assert len([text for text in messages if "queue 'orders' is consumed again: bank works again" in text]) == 1
    assert len([text for text in messages if "circuit breaker bank opens" in text and "cannot pay" in text]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "", "on": OSError}, "name"),
        ({"name": "bank", "on": "OSError"}, "exception classes"),
        ({"name": "bank", "on": ()}, "exception classes"),
        ({"name": "bank", "on": int}, "exception classes"),
        ({"name": "bank", "on": OSError, "hold": -1}, "hold"),
        ({"name": "bank", "on": OSError, "tries": 0}, "tries"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], words: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=words):
        CircuitBreaker(arguments.pop("name"), **arguments)
