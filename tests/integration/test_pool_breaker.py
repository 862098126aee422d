"""A circuit breaker around a pool's connecting: while it is open nobody waits for a connection, and the pool goes on trying."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rmqpool import (
    AsyncPublisher,
    AuthenticationError,
    Backoff,
    Breaker,
    BreakerPolicy,
    BreakerState,
    CircuitOpenError,
    ConfigurationError,
    ConnectionPool,
    Consumer,
    Delivery,
    Message,
    Middleware,
    NotSentError,
    Publisher,
    PublishError,
    PublishHeldBackError,
    Queue,
    Worker,
)
from rmqpool.secret import Secret
from rmqpool.settings import ConnectionSettings
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.waiting import wait_until
from rmqpool.urls import parse_url

LONG = 120.0  # seconds: what a caller would wait without a breaker


def broker_guard(minimum: int = 3, pause: Backoff | None = None) -> Breaker:
    """One that opens after three failures in a row, and tries again soon."""
    return Breaker(
        "the broker",
        policy=BreakerPolicy(minimum=minimum, failure_rate=1, pause=pause or Backoff(0.05, 0.2), patience=300),
    )


@pytest.fixture
def proxy(vhost_url: str) -> Iterator[FaultProxy]:
    """In front of the broker."""
    with FaultProxy(parse_url(vhost_url).hosts[0]) as proxy:
        yield proxy


@pytest.fixture
def settings(vhost_url: str, proxy: FaultProxy) -> ConnectionSettings:
    """Through the proxy."""
    return dataclasses.replace(parse_url(vhost_url), hosts=(("127.0.0.1", proxy.port),), reconnect_max_delay=0.5)


def take_away(proxy: FaultProxy, guard: Breaker) -> None:
    """The broker is gone, and the breaker has seen it."""
    proxy.refuse()
    proxy.reset()
    wait_until(lambda: guard.state is not BreakerState.CLOSED, "the breaker to open", timeout=60)


def refused_at_once(call: Callable[[], object], kind: type[CircuitOpenError] = CircuitOpenError) -> CircuitOpenError:
    """What the call is told, long before its deadline."""
    began = time.monotonic()
    with pytest.raises(kind) as told:
        call()
    assert time.monotonic() - began < LONG / 2
    return told.value


def test_callers_do_not_wait_while_it_is_open_and_go_on_when_the_broker_is_back(
    settings: ConnectionSettings, proxy: FaultProxy
) -> None:
    """Publish, channel, declare and open are refused at once and say why; when the broker is back the pool finds it."""
    guard = broker_guard()
    with (
        ConnectionPool(settings, timeout=LONG, breaker=guard) as pool,
        Publisher(pool, declare=[Queue("a")]) as publisher,
    ):
        publisher.publish("a", 1)
        take_away(proxy, guard)
        wait_until(lambda: not any(one.state == "ready" for one in pool.stats().connections), "the loss", timeout=60)
        error = refused_at_once(lambda: publisher.publish("a", 2), PublishHeldBackError)
        assert isinstance(error, NotSentError)
        assert error.name == "the broker"
        assert error.retry_after <= 1.0
        assert "last error" in str(error)
        assert error.__cause__ is not None
        refused_at_once(pool.channel)
        refused_at_once(lambda: pool.declare_once([Queue("b")]))
        refused_at_once(lambda: pool.wait(LONG))
        refused_at_once(pool.check)
        refused_at_once(lambda: publisher.call("a", 1), PublishHeldBackError)
        refused_at_once(lambda: publisher.publish_many("a", [1, 2]), PublishHeldBackError)
        refused_at_once(lambda: Publisher(pool, declare=[Queue("b")]).publish("b", 1), PublishHeldBackError)
        assert pool.stats().errors["PublishHeldBackError"] >= 3
        assert guard.stats().refused >= 8

        proxy.heal()
        wait_until(lambda: guard.state is BreakerState.CLOSED, "a probe that succeeds", timeout=60)
        publisher.publish("a", 3)
        with pool.channel():
            pass
        assert guard.stats().failed >= 3


def test_what_was_written_before_keeps_its_outcome(settings: ConnectionSettings, proxy: FaultProxy) -> None:
    """A message whose confirm was under way is written again and confirmed, however often the breaker refused others."""
    guard = broker_guard()
    with (
        ConnectionPool(settings, timeout=LONG, breaker=guard) as pool,
        Publisher(pool, declare=[Queue("a")]) as publisher,
    ):
        publisher.publish("a", 1)
        proxy.stall("from_broker")
        future = publisher.submit("a", 2)
        proxy.wait_for_frames("basic.publish", 2, timeout=60)
        take_away(proxy, guard)
        refused_at_once(lambda: publisher.publish("a", 3))
        assert not future.done()
        proxy.heal()
        future.result(LONG)
        with pool.channel() as channel:
            assert channel.queue_declare("a", passive=True).message_count in (2, 3)  # the second one once or twice


@pytest.mark.parametrize("what", ["open", "channel", "declare"])
def test_who_waits_already_is_told_when_it_opens(settings: ConnectionSettings, proxy: FaultProxy, what: str) -> None:
    """Callers that began to wait while it was closed do not wait until their deadline either."""
    guard = broker_guard()
    proxy.refuse()
    pool = ConnectionPool(settings, timeout=LONG, breaker=guard)
    calls: dict[str, Callable[[], object]] = {
        "open": lambda: pool.open(timeout=LONG),
        "channel": lambda: pool.channel().release(),
        "declare": lambda: pool.declare_once([Queue("a")]),
    }
    try:
        refused_at_once(calls[what])
        proxy.heal()
        wait_until(lambda: guard.state is BreakerState.CLOSED, "the pool's next attempt", timeout=60)
        calls[what]()
    finally:
        pool.close(1.0)


def test_a_wrong_password_is_told_rather_than_the_breaker(vhost_url: str) -> None:
    """Who would wait gets the error that says what to do, although the breaker is open as well."""
    guard = broker_guard(minimum=1)
    wrong = dataclasses.replace(parse_url(vhost_url), password=Secret("wrong"))
    pool = ConnectionPool(wrong, timeout=LONG, breaker=guard)
    try:
        for call in (lambda: pool.open(timeout=LONG), lambda: Publisher(pool).publish("a", 1)):
            with pytest.raises((AuthenticationError, NotSentError)) as told:
                call()
            assert not isinstance(told.value, CircuitOpenError)
        assert guard.state is not BreakerState.CLOSED
        assert "AuthenticationError" in str(refused_at_once(pool.channel))  # its connection has not tried yet
    finally:
        pool.close(1.0)


async def test_coroutines_are_refused_too(settings: ConnectionSettings, proxy: FaultProxy) -> None:
    """An AsyncPublisher raises the same, at once, from each of its ways to publish."""
    guard = broker_guard()
    with ConnectionPool(settings, timeout=LONG, breaker=guard) as pool:
        async with AsyncPublisher(pool, declare=[Queue("a")]) as publisher:
            await publisher.publish("a", 1)
            take_away(proxy, guard)
            for call in (publisher.publish("a", 2), publisher.call("a", 2), publisher.publish_many("a", [2])):
                began = time.monotonic()
                with pytest.raises(PublishHeldBackError):
                    await call
                assert time.monotonic() - began < LONG / 2
            proxy.heal()
            wait_until(lambda: guard.state is BreakerState.CLOSED, "a probe that succeeds", timeout=60)
            await publisher.publish("a", 3)


def test_a_consumer_waits_for_the_broker(settings: ConnectionSettings, proxy: FaultProxy) -> None:
    """Its connection comes back by itself, as it would without the breaker, and nobody is told to go away."""
    guard = broker_guard()
    got: list[Delivery] = []
    with (
        ConnectionPool(settings, timeout=LONG, breaker=guard) as pool,
        Publisher(pool, declare=[Queue("a")]) as publisher,
        Consumer(pool, Queue("a"), got.append) as consumer,
    ):
        consumer.wait_ready(60)
        take_away(proxy, guard)
        proxy.heal()
        consumer.wait_ready(60)
        wait_until(lambda: guard.state is BreakerState.CLOSED, "the breaker to close", timeout=60)
        publisher.publish("a", 1)
        wait_until(lambda: len(got) == 1, "the delivery", timeout=60)
        got[0].ack()


def test_eight_connections_try_an_absent_broker_one_at_a_time(settings: ConnectionSettings, proxy: FaultProxy) -> None:
    """Once it is open, an attempt is made for each pause, not one for each connection."""
    changes: list[BreakerState] = []
    policy = BreakerPolicy(minimum=3, failure_rate=1, pause=Backoff(0.05, 0.1))
    guard = Breaker("the broker", policy=policy, on_change=lambda state, _: changes.append(state))
    proxy.refuse()
    pool = ConnectionPool(settings, publish_connections=8, breaker=guard)
    try:
        pool.open(wait=False)
        wait_until(lambda: changes.count(BreakerState.OPEN) > 10, "ten probes that failed", timeout=60)
        assert guard.stats().failed <= 3 + 8 + changes.count(BreakerState.OPEN)
        proxy.heal()
        wait_until(lambda: all(one.state == "ready" for one in pool.stats().publish), "all connections", timeout=60)
    finally:
        pool.close(1.0)


def test_a_pool_that_is_closed_in_the_middle_of_a_probe_leaves_the_breaker_to_others(
    settings: ConnectionSettings, proxy: FaultProxy
) -> None:
    """The attempt that was broken off says nothing: the next pool's is the probe."""
    guard = broker_guard(minimum=1)
    proxy.refuse()
    first = ConnectionPool(settings, breaker=guard)
    refused_at_once(lambda: first.open(timeout=LONG))
    proxy.heal()
    proxy.blackhole()  # it listens again, and answers nothing
    wait_until(lambda: guard.state is BreakerState.HALF_OPEN, "a probe", timeout=60)
    first.close(1.0)
    proxy.heal()
    second = ConnectionPool(settings, breaker=guard)
    try:
        second.open(wait=False)
        wait_until(lambda: guard.state is BreakerState.CLOSED, "the other pool's probe", timeout=30)
    finally:
        second.close(1.0)


def test_without_one_callers_wait(settings: ConnectionSettings, proxy: FaultProxy) -> None:
    """The deadline decides, as ever."""
    proxy.refuse()
    pool = ConnectionPool(settings)
    try:
        with pytest.raises(NotSentError) as told:
            Publisher(pool).publish("a", 1, timeout=1.0)
        assert not isinstance(told.value, CircuitOpenError)
    finally:
        pool.close(1.0)


def test_what_is_no_breaker_is_refused() -> None:
    """A policy in the place of a breaker is told at once."""
    with pytest.raises(ConfigurationError, match=r"give Breaker\('the broker'\)"):
        ConnectionPool(breaker=BreakerPolicy())  # type: ignore[arg-type]


def test_a_worker_waits_for_the_broker_also_when_the_breaker_is_open_at_its_start(
    settings: ConnectionSettings, proxy: FaultProxy
) -> None:
    """As it does without one: it declares and consumes when the broker is there."""
    guard = broker_guard()
    proxy.refuse()
    with contextlib.closing(ConnectionPool(settings, breaker=guard)) as pool:
        refused_at_once(lambda: pool.open(timeout=LONG))
        worker = Worker("patient", pool)
        handled = threading.Event()
        worker.consumer("patient")(lambda body: handled.set())
        running = threading.Thread(target=worker.run, kwargs={"grace": 5.0})
        running.start()
        try:
            wait_until(lambda: guard.stats().refused > 0, "the worker to be turned away", timeout=30)
            assert running.is_alive()
            proxy.heal()
            wait_until(lambda: worker.is_ready, "the worker to be ready", timeout=60)
            with Publisher(pool) as publisher:
                publisher.publish("patient", {}, timeout=60)
            assert handled.wait(60)
        finally:
            worker.stop()
            running.join(60)
    assert not running.is_alive()


def test_a_batch_that_is_held_back_is_told_to_middleware(settings: ConnectionSettings, proxy: FaultProxy) -> None:
    """Each message ends for it: what it opened before a publish is closed."""

    class Counting(Middleware):
        begun = ended = 0

        def before_publish(self, message: Message) -> None:
            self.begun += 1

        def on_publish_error(self, message: Message, state: object, error: PublishError) -> None:
            self.ended += 1

    counting, guard = Counting(), broker_guard()
    with ConnectionPool(settings, breaker=guard) as pool, Publisher(pool, middleware=[counting]) as publisher:
        take_away(proxy, guard)
        with pytest.raises(PublishHeldBackError):
            publisher.publish_many("orders", range(100), timeout=LONG)
    assert counting.begun == counting.ended == 100


def test_a_new_pool_on_an_open_breaker_waits_for_its_own_probe(settings: ConnectionSettings, proxy: FaultProxy) -> None:
    """The breaker outlives pools; one that is opened when its pause is over makes the attempt that closes it."""
    guard = broker_guard()
    with ConnectionPool(settings, breaker=guard):
        take_away(proxy, guard)
    proxy.heal()
    wait_until(lambda: guard.wait() == 0.0, "the end of the pause", timeout=30)
    with ConnectionPool(settings, breaker=guard) as pool:
        assert pool.check(timeout=60)
    assert guard.state is BreakerState.CLOSED
