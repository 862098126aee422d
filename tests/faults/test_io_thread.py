"""Row 25 of the fault matrix: errors inside the I/O thread, ours and other people's. Waiters end, the connection is rebuilt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from pika.channel import Channel

from faults.harness import Collector, Events, Load, Waiter, drain, judge, open_pool, until
from faults.tally import Tally
from rmqpool import (
    Confirmation,
    ConnectionLostError,
    ConnectionPool,
    Consumer,
    Delivery,
    NackedError,
    PoolEvent,
    Publisher,
    Queue,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.consuming import Consuming
from rmqpool.amqp.deadlines import Deadlines
from rmqpool.amqp.link import Link, LinkEvent
from rmqpool.amqp.outcomes import Outcomes
from rmqpool.amqp.publishing import Publishing
from rmqpool.amqp.wire_support import may_use_fast_path
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode


class InjectedError(Exception):
    """Nothing raises it but these tests."""


class RaisesOnce:
    """Put in the place of a method, it raises at the next call on an I/O thread of the wanted role, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, role: str) -> None:
        self.raised = threading.Event()
        self._original: Callable[..., Any] = getattr(owner, name)
        self._role = role
        monkeypatch.setattr(owner, name, lambda *arguments: self._call(*arguments))

    def _call(self, *arguments: Any) -> Any:
        if f":{self._role}-" in threading.current_thread().name and not self.raised.is_set():
            self.raised.set()
            raise InjectedError("injected")
        return self._original(*arguments)


@pytest.fixture
def events() -> Events:
    """What the pool says."""
    return Events()


@pytest.fixture
def pool(vhost_url: str, events: Events) -> Iterator[ConnectionPool]:
    """A pool on the test's own vhost."""
    with open_pool(vhost_url, timeout=15, on_event=events) as opened:
        yield opened


def publish_link(pool: ConnectionPool) -> Link:
    """The link of the only publish connection."""
    pool.open()
    (link,) = pool._publish.links
    return link


# Other people's code on the I/O thread


def test_event_listener_that_raises_changes_nothing(
    vhost_url: str, queue_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A listener that always raises is logged; connections open, publish and close as ever."""

    def listener(event: PoolEvent) -> None:
        raise InjectedError(f"at {event.kind}")

    with open_pool(vhost_url, on_event=listener) as pool:
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        for _ in range(20):
            tally.submit(queue_name)
        verdict = tally.verdict(vhost_url, queue_name)
        assert (verdict.confirmed, pool.stats().publish[0].epoch) == (20, 1)
    assert "an event listener failed" in caplog.messages


def test_done_callback_that_raises_harms_nobody_else(
    pool: ConnectionPool, vhost_url: str, queue_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each callback raises: every message gets its outcome all the same, on the same connection."""

    def callback(future: object) -> None:
        raise InjectedError("in a callback")

    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    for _ in range(50):
        tally.submit(queue_name).add_done_callback(callback)
    assert all(isinstance(outcome, Confirmation) for outcome in tally.outcomes())
    assert pool.flush(5)
    assert tally.verdict(vhost_url, queue_name).received == 50
    assert pool.stats().publish[0].epoch == 1
    assert sum("a done callback of" in message for message in caplog.messages) == 50


def test_delivery_callback_that_raises_gives_the_message_back(
    pool: ConnectionPool, vhost_url: str, queue_name: str
) -> None:
    """on_delivery raises once: that message comes again, nothing is acknowledged for it, the consumer lives."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    failed = threading.Event()
    received: list[Delivery] = []

    def on_delivery(delivery: Delivery) -> None:
        if not failed.is_set():
            failed.set()
            raise InjectedError("in on_delivery")
        tally.checker.record_delivery(delivery.message_id or "", delivery.redelivered)
        delivery.ack()
        received.append(delivery)

    with Consumer(pool, queue_name, on_delivery) as consumer:
        for _ in range(20):
            tally.submit(queue_name)
        until(lambda: len(received) == 20, "every message")
        assert sum(delivery.redelivered for delivery in received) == 1
        assert consumer.status().subscriptions == 1
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.received, verdict.duplicates) == (20, 0)


def test_consumers_event_listener_that_raises_changes_nothing(
    pool: ConnectionPool, vhost_url: str, queue_name: str
) -> None:
    """A consumer whose listener raises consumes."""

    def listener(event: object, sentence: str) -> None:
        raise InjectedError("in a listener")

    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    tally.submit(queue_name)
    with Collector(pool, Queue(queue_name), tally.checker, on_event=listener) as collector:
        until(lambda: collector.received == 1, "the message")
    assert tally.verdict(vhost_url, queue_name).received == 1


# Our own code on the I/O thread


def test_posted_function_that_raises_rebuilds_the_connection(
    pool: ConnectionPool, events: Events, vhost_url: str, queue_name: str
) -> None:
    """A fault in the middle of a load: it is told, the connection is replaced, everything is confirmed, nothing lost."""
    checker = TotalQueueChecker()
    with Load(Publisher(pool, declare=[Queue(queue_name)]), queue_name, checker, threads=3) as load:
        load.wait_for_confirmed(30)
        for fault in range(1, 4):
            publish_link(pool).post(_boom)
            events.wait_for(LinkEvent.FAULT, count=fault)
            load.wait_for_confirmed(30)
    assert all(isinstance(outcome, Confirmation) for outcome in load.outcomes)
    assert "InjectedError('posted')" in events.of(LinkEvent.FAULT)[0].sentence
    assert pool.stats().publish[0].epoch == 4
    drain(vhost_url, queue_name, checker)
    judge(checker)


def _boom() -> None:
    raise InjectedError("posted")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Publishing, "_give_outcomes"),
        (Outcomes, "confirmed"),
        (Publishing, "_drain"),
        (Deadlines, "watch_at"),
        (Connection, "write") if may_use_fast_path(pika.SelectConnection) else (Channel, "basic_publish"),
        (Connection, "_on_data_available"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_error_in_the_publish_path_loses_no_waiter(
    pool: ConnectionPool,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
    vhost_url: str,
    queue_name: str,
    owner: type,
    name: str,
) -> None:
    """Whatever raises once while messages are on their way: each ends by its deadline, the window empties, all goes on."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)], timeout=12))
    assert isinstance(tally.publish(queue_name), Confirmation)
    injected = RaisesOnce(monkeypatch, owner, name, "publish")
    all_on_their_way(tally, pool, queue_name, injected)
    assert told_of_a_fault(events, "publish")
    tally.verdict(vhost_url, queue_name)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Publishing, "_take_back"),
        (Publishing, "_sort_out"),
        (Publishing, "channel_ready"),
        (Publishing, "link_up"),
        (Link, "_drop"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_error_while_a_lost_connection_is_handled_loses_no_waiter(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch, vhost_url: str, queue_name: str, owner: type, name: str
) -> None:
    """The same for what runs when a connection is lost and opened again, with messages on their way."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)], timeout=12))
    assert isinstance(tally.publish(queue_name), Confirmation)
    injected = RaisesOnce(monkeypatch, owner, name, "publish")
    all_on_their_way(tally, pool, queue_name, injected, then=lambda: _abort(pool))
    tally.verdict(vhost_url, queue_name)


def test_error_that_hides_the_confirm_ends_a_message_that_may_not_be_written_again(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch, vhost_url: str, queue_name: str
) -> None:
    """retry=False: its outcome is unknown, long before its deadline, and it is written once."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)], timeout=30, retry=False))
    assert isinstance(tally.publish(queue_name), Confirmation)
    injected = RaisesOnce(monkeypatch, Publishing, "_give_outcomes", "publish")
    outcome = tally.submit(queue_name).outcome(timeout=10)

    assert injected.raised.is_set()
    assert isinstance(outcome, UnknownOutcomeError)
    assert "an error inside rmqpool hid the confirm" in str(outcome)
    assert outcome.attempts == 1
    assert pool.flush(5)
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.confirmed, verdict.unknown, verdict.received, verdict.duplicates) == (1, 1, 2, 0)


def all_on_their_way(
    tally: Tally, pool: ConnectionPool, queue: str, injected: RaisesOnce, then: Callable[[], None] = lambda: None
) -> None:
    """Submit 200 messages, run ``then`` on the I/O thread; all end as confirmed, every callback runs, the window empties."""
    called = threading.Semaphore(0)
    for _ in range(200):
        tally.submit(queue).add_done_callback(lambda _: called.release())
    publish_link(pool).post(then)

    outcomes = tally.outcomes()

    assert injected.raised.wait(10), "the injected error was not raised: the test proves nothing"
    assert not [outcome for outcome in outcomes if not isinstance(outcome, Confirmation)]
    assert all(called.acquire(timeout=5) for _ in range(200)), "a callback was not called"
    assert pool.flush(5), "the window still counts messages that have their outcome"
    assert isinstance(tally.publish(queue), Confirmation)
    assert pool.stats().publish[0].epoch >= 2


def told_of_a_fault(events: Events, role: str) -> bool:
    """A contained error, or one that pika made a lost connection of: both name the error."""
    return any(
        "injected" in event.sentence
        for kind in (LinkEvent.FAULT, LinkEvent.CONNECTION_LOST, LinkEvent.CONNECT_FAILED)
        for event in events.of(kind, role=role)
    )


def _abort(pool: ConnectionPool) -> None:
    connection = publish_link(pool).connection
    assert connection is not None
    connection.abort(ConnectionLostError("ended by the test"))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Consuming, "_take"),
        (Consuming, "_write_settlements"),
        (Consuming, "_consume"),
        (Consuming, "_on_subscribed"),
        (Connection, "_on_data_available"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_error_in_the_consume_path_subscribes_again(
    pool: ConnectionPool,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
    vhost_url: str,
    queue_name: str,
    owner: type,
    name: str,
) -> None:
    """Whatever raises once while consuming: the consumer comes back by itself and gets every message."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    injected = RaisesOnce(monkeypatch, owner, name, "consume")
    with Collector(pool, Queue(queue_name), tally.checker) as collector:
        for _ in range(50):
            tally.submit(queue_name)
        tally.outcomes()
        until(lambda: tally.checker.missing() == 0, "every message", timeout=15)
        # Settlements are written after the last message was handed over: that fault may come now.
        until(injected.raised.is_set, f"{name} being called: without it the test proves nothing")
        until(lambda: told_of_a_fault(events, "consume"), "the event of the fault")
        collector.consumer.wait_ready(10)
    verdict = tally.verdict(vhost_url, queue_name)
    assert verdict.received == 50


def test_error_on_the_lease_connection_ends_calls_at_once(
    pool: ConnectionPool, events: Events, broker: RabbitMQNode, queue_name: str
) -> None:
    """A call that waits while its I/O thread has a fault fails at once with the reason; the next lease works."""
    with pool.channel() as channel:
        channel.queue_declare(queue_name)
        link = channel._channel.link
        waiting = Waiter(lambda: next(iter(channel.basic_consume(queue_name))))
        until(lambda: [row for row in broker.list_queues(_vhost(pool)) if row["consumers"] == 1], "its consumer")
        link.post(_boom)
        error = waiting.wait(10).error
        assert isinstance(error, ConnectionLostError)
        assert "InjectedError: posted" in str(error)
        assert "please report it" in str(error)
        assert not channel.is_open
    events.wait_for(LinkEvent.FAULT, role="lease")
    with pool.channel() as again:
        assert again.queue_declare(queue_name, passive=True).queue == queue_name
    assert pool.stats().lease is not None


def _vhost(pool: ConnectionPool) -> str:
    return pool.settings.vhost


# A broker that speaks nonsense


@pytest.mark.parametrize("frame", ["header", "basic.deliver"])
def test_frame_that_makes_no_sense_rebuilds_the_connection(
    broker: RabbitMQNode, vhost: str, queue_name: str, frame: str
) -> None:
    """A content frame without its method, or a body without its header: the stream is broken, so a new one takes over."""
    url, events = broker.amqp_url(vhost=vhost), Events()
    with (
        FaultProxy((broker.host, broker.port)) as proxy,
        open_pool(broker.amqp_url(vhost=vhost, port=proxy.port), on_event=events) as pool,
    ):
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        with Collector(pool, Queue(queue_name), tally.checker) as collector:
            cut = proxy.cut(frame, nth=5, direction="from_broker", how="drop")
            for _ in range(30):
                tally.submit(queue_name)
            assert cut.wait(10)
            tally.outcomes()
            until(lambda: tally.checker.missing() == 0, "every message", timeout=15)
            assert collector.consumer.status().subscriptions == 2
        assert events.of(LinkEvent.FAULT, role="consume") or events.of(LinkEvent.CONNECTION_LOST, role="consume")
        verdict = tally.verdict(url, queue_name)
        assert verdict.received == 30


def test_returned_message_without_its_header_costs_nobody_the_outcome(
    broker: RabbitMQNode, vhost: str, queue_name: str
) -> None:
    """On the publish connection: a basic.return whose header is missing; every message still gets its outcome."""
    with (
        FaultProxy((broker.host, broker.port)) as proxy,
        open_pool(broker.amqp_url(vhost=vhost, port=proxy.port), timeout=12) as pool,
    ):
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        cut = proxy.cut("header", direction="from_broker", how="drop")
        for number in range(40):
            tally.submit("no-such-queue" if number == 10 else queue_name)
        outcomes = tally.outcomes()
        assert cut.wait(1)
        assert not any(isinstance(outcome, NackedError) for outcome in outcomes)
        verdict = tally.verdict(broker.amqp_url(vhost=vhost), queue_name)
        # It is returned again when it is written again, but of its first writing nobody ever heard.
        assert (verdict.confirmed, verdict.unknown) == (39, 1)
        (unknown,) = [outcome for outcome in outcomes if isinstance(outcome, UnknownOutcomeError)]
        assert isinstance(unknown.__cause__, UnroutableError)
