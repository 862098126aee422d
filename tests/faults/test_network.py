"""Rows 3, 4, 5 and 7 of the fault matrix: the network between us and the broker resets, goes silent, or eats a confirm."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from faults.harness import Collector, Events, Load, Waiter, drain, figures, judge, open_pool, publish_recorded, until
from faults.tally import BURSTS, BUSY, keep_busy
from rmqpool import ConnectionPool, Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.errors import (
    ConnectionFailedError,
    ConnectionLostError,
    PoolTimeoutError,
    UnknownOutcomeError,
)
from rmqpool.settings import ConnectionSettings, Secret, TLSSettings
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.faults import Direction, How
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq_node import RabbitMQNode

HEARTBEAT = 2  # seconds


@pytest.fixture
def proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    """A proxy in front of the shared broker."""
    with FaultProxy((broker.host, broker.port)) as running:
        yield running


# Row 3: resets


def test_resets_in_the_middle_of_frames_lose_nothing(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str
) -> None:
    """Ten times the connection is reset after a number of bytes that ends inside a frame, in either direction, under load."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name)
    resets: list[tuple[int, Direction]] = [
        (1, "to_broker"), (1501, "to_broker"), (7, "from_broker"), (10_007, "to_broker"), (33, "from_broker"),
        (77_777, "to_broker"), (123_457, "to_broker"), (501, "from_broker"), (3, "to_broker"), (1999, "to_broker"),
    ]  # fmt: skip
    with open_pool(broker.amqp_url(port=proxy.port, vhost=vhost), on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        with Collector(pool, queue, checker), Load(publisher, queue_name, checker, size=2000) as load:
            for count, direction in resets:
                load.wait_for_confirmed(20)
                fault = proxy.reset_after(count, direction)
                assert fault.wait(20.0), f"{count} bytes {direction} never passed"
            load.wait_for_confirmed(20)
            load.stop()
        assert len(events.of(LinkEvent.CONNECTION_LOST)) + len(events.of(LinkEvent.CONNECT_FAILED)) >= len(resets)
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    verdict = judge(checker)
    assert verdict.confirmed == verdict.attempted


def test_a_reset_inside_a_large_body_is_not_a_partial_message(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str
) -> None:
    """A message of 1 MB cut in its middle is written again as a whole: exactly one arrives, complete."""
    checker = TotalQueueChecker()
    with open_pool(broker.amqp_url(port=proxy.port, vhost=vhost)) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "first", checker)
        fault = proxy.reset_after(500_000, "to_broker")
        confirmation = publish_recorded(publisher, queue_name, "large", checker, size=1_000_000)
        assert fault.wait(5.0)
        assert (confirmation.outcome, confirmation.attempts) == ("confirmed", 2)
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    assert judge(checker).duplicates == 0


# Row 4: silence


def _release_times(pool: ConnectionPool, publisher: Publisher, queue: str, silence: Callable[[], None]) -> list[Waiter]:
    """Begin to wait in every way that there is at the moment of `silence`; the waiters' own deadlines are 30 s."""
    with pool.channel() as channel:
        channel.queue_declare(queue, passive=True)
        silence()
        waiters = [
            Waiter(lambda: channel.queue_declare(queue, passive=True, timeout=30.0)),
            Waiter(lambda: channel.basic_get(queue, timeout=30.0)),
            Waiter(lambda: publisher.publish(queue, b"unknown", retry=False, timeout=30.0, message_id="unknown")),
        ]
        return [waiter.wait(20.0) for waiter in waiters]


def _assert_noticed(events: Events, waiters: list[Waiter], silent_at: float) -> None:
    lost = [
        event
        for role in ("publish", "lease", "consume")
        for event in events.wait_for(LinkEvent.CONNECTION_LOST, since=silent_at, timeout=10.0, role=role)
    ]
    noticed = [event.at - silent_at for event in lost]
    released = [waiter.seconds for waiter in waiters]
    figures("noticed after %.2f s, waiters released after %.2f s at the latest", max(noticed), max(released))
    assert max(noticed) < 2 * HEARTBEAT
    assert max(released) < 2 * HEARTBEAT
    assert all("nothing came from" in event.sentence for event in lost), "the sentence names the silence"
    for waiter, kind in zip(waiters, (ConnectionLostError, ConnectionLostError, UnknownOutcomeError), strict=True):
        assert isinstance(waiter.error, kind), repr(waiter.error)
        assert "nothing came from" in str(waiter.error)


@pytest.mark.parametrize("direction", [None, "from_broker"])
def test_a_half_open_connection_is_noticed_within_two_heartbeats(
    broker: RabbitMQNode,
    proxy: FaultProxy,
    vhost: str,
    queue_name: str,
    direction: Direction | None,
) -> None:
    """The network swallows everything: every waiter is released with the cause, and work goes on when it is back."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name)
    url = f"{broker.amqp_url(port=proxy.port, vhost=vhost)}?heartbeat={HEARTBEAT}&amqp_timeout=1"
    with open_pool(url, on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        publish_recorded(publisher, queue_name, "before", checker)
        with Collector(pool, queue, checker):
            silent_at = time.monotonic()
            checker.record_attempt("unknown")
            waiters = _release_times(pool, publisher, queue_name, lambda: proxy.blackhole(direction))
            checker.record_publish("unknown", "unknown")
            _assert_noticed(events, waiters, silent_at)
            with pytest.raises(PoolTimeoutError, match="is not ready") as caught:
                pool.wait(0.5)
            assert caught.value.__cause__ is not None, "the last connection error is its cause"
            proxy.heal()
            pool.wait(10.0)
            assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
            until(lambda: checker.missing() == 0, "the consumer to receive again")
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    judge(checker)


def test_a_busy_connection_is_not_taken_for_a_silent_one(broker: RabbitMQNode, vhost: str, queue_name: str) -> None:
    """Load in both directions for longer than any heartbeat checker waits: every byte read counts as a sign of life."""
    with open_pool(f"{broker.amqp_url(vhost=vhost)}?heartbeat=1") as pool:
        verdict = keep_busy(pool, queue_name, BUSY, BURSTS)
    assert verdict.confirmed == verdict.attempted


def test_a_stopped_broker_is_noticed_within_two_heartbeats(private_broker: RabbitMQNode, queue_name: str) -> None:
    """A broker under SIGSTOP keeps its sockets and says nothing: noticed all the same, and used again when it goes on."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name)
    url = f"{private_broker.amqp_url()}?heartbeat={HEARTBEAT}&amqp_timeout=1"
    with open_pool(url, on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        publish_recorded(publisher, queue_name, "before", checker)
        with Collector(pool, queue, checker):
            silent_at = time.monotonic()
            checker.record_attempt("unknown")
            try:
                waiters = _release_times(pool, publisher, queue_name, private_broker.pause)
                checker.record_publish("unknown", "unknown")
                _assert_noticed(events, waiters, silent_at)
                failed = events.wait_for(LinkEvent.CONNECT_FAILED, since=silent_at, role="publish")
                assert "did not finish the AMQP handshake within 1 s" in failed[0].sentence
            finally:
                private_broker.resume()
            assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
            until(lambda: checker.missing() == 0, "the consumer to receive again", 20.0)
    drain(private_broker.amqp_url(), queue_name, checker)
    judge(checker)


# Row 5: black holes while connecting


@contextlib.contextmanager
def _full_listener() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops every further SYN, as a firewall would."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def _silent_server(broker: RabbitMQNode) -> Iterator[int]:
    """A port that accepts, and then neither answers nor ends."""
    with FaultProxy((broker.host, broker.port)) as silent:
        silent.blackhole()
        yield silent.port


def _settings(broker: RabbitMQNode, vhost: str, hosts: list[tuple[str, int]], **changes: Any) -> ConnectionSettings:
    return ConnectionSettings(
        hosts=tuple(hosts),
        user=broker.user,
        password=Secret(broker.password),
        vhost=vhost,
        reconnect_max_delay=0.5,
        **{f"{stage}_timeout": 0.4 for stage in ("dns", "tcp", "tls", "amqp")},
        **changes,
    )


def _await_failure(events: Events, proxy: FaultProxy) -> Any:
    """The first failed attempt. A list of hosts is entered anywhere: if at the live one, the next attempt is elsewhere."""
    events.wait_for(LinkEvent.CONNECTED)
    if not events.of(LinkEvent.CONNECT_FAILED):
        proxy.reset()
        events.wait_for(LinkEvent.CONNECTED, count=2)
    return events.of(LinkEvent.CONNECT_FAILED)[0]


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ("tcp", "no TCP connection to 127.0.0.1:{port} within 0.4 s"),
        ("amqp", "did not finish the AMQP handshake within 0.4 s"),
    ],
)
def test_a_black_hole_in_a_stage_times_out_and_the_next_host_is_used(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str, stage: str, sentence: str
) -> None:
    """One of two hosts swallows the attempt at one stage: the error names stage and host, and the other one publishes."""
    checker, events = TotalQueueChecker(), Events()
    dead_host = _full_listener() if stage == "tcp" else _silent_server(broker)
    with dead_host as dead:
        settings = _settings(broker, vhost, [("127.0.0.1", dead), ("127.0.0.1", proxy.port)])
        with open_pool(settings, on_event=events) as pool:
            pool.open()
            failed = _await_failure(events, proxy)
            assert sentence.format(port=dead) in failed.sentence
            assert f"127.0.0.1:{dead}" in failed.sentence
            publisher = Publisher(pool, declare=[Queue(queue_name)])
            assert publish_recorded(publisher, queue_name, "m", checker, timeout=10.0).outcome == "confirmed"
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    assert judge(checker).received == 1


@pytest.mark.parametrize("stage", ["tcp", "tls", "amqp"])
def test_each_stage_of_connecting_has_a_timeout_of_its_own(broker: RabbitMQNode, stage: str) -> None:
    """With one black host only, opening ends by its own deadline, and its cause names the stage that timed out."""
    dead_host = _full_listener() if stage == "tcp" else _silent_server(broker)
    with dead_host as dead:
        changes = {"tls": TLSSettings()} if stage == "tls" else {}
        settings = _settings(broker, "/", [("127.0.0.1", dead)], **changes)
        with open_pool(settings) as pool:
            waiter = Waiter(lambda: pool.open(timeout=1.0)).wait(5.0)
            assert isinstance(waiter.error, PoolTimeoutError)
            assert waiter.seconds < 2.0
            cause = waiter.error.__cause__
            assert isinstance(cause, ConnectionFailedError)
            assert (cause.stage, cause.host, cause.port) == (stage, "127.0.0.1", dead)
            assert "within 0.4 s" in str(cause)


def test_a_name_server_that_does_not_answer_times_out_and_the_next_host_is_used(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up of one host hangs: its stage has a timeout as well, and the other host is used meanwhile."""
    answered = threading.Event()
    real = socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "slow.invalid":
            answered.wait(20.0)
        return real("127.0.0.1" if host == "slow.invalid" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    checker, events = TotalQueueChecker(), Events()
    settings = _settings(broker, vhost, [("slow.invalid", 5672), ("127.0.0.1", proxy.port)])
    try:
        with open_pool(settings, on_event=events) as pool:
            pool.open()
            failed = _await_failure(events, proxy)
            assert "looking up slow.invalid took longer than 0.4 s" in failed.sentence
            publisher = Publisher(pool, declare=[Queue(queue_name)])
            assert publish_recorded(publisher, queue_name, "m", checker, timeout=10.0).outcome == "confirmed"
    finally:
        answered.set()
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    judge(checker)


# Row 7: the confirm is lost

LOST_CONFIRMS = ["reset", "close", "blackhole", "drop"]


@pytest.mark.parametrize("how", LOST_CONFIRMS)
def test_a_lost_confirm_is_an_unknown_outcome_without_retry(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str, how: How
) -> None:
    """retry=False: written once, the confirm never comes, so the outcome is unknown; the broker does have the message."""
    checker = TotalQueueChecker()
    url = f"{broker.amqp_url(port=proxy.port, vhost=vhost)}?heartbeat=1"
    with open_pool(url) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "first", checker)
        cut = proxy.cut("basic.ack", how=how)
        error = publish_recorded(publisher, queue_name, "lost", checker, retry=False, timeout=3.0)
        assert cut.wait(5.0)
        assert isinstance(error, UnknownOutcomeError)
        assert (error.message_id, error.attempts) == ("lost", 1)
        assert "publish it again only with the same message_id" in str(error)
        assert publish_recorded(publisher, queue_name, "next", checker).attempts == 1
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    verdict = judge(checker)
    assert (verdict.confirmed, verdict.unknown, verdict.received, verdict.duplicates) == (2, 1, 3, 0)


@pytest.mark.parametrize("how", ["reset", "close", "blackhole"])
def test_a_lost_confirm_is_written_again_under_the_same_message_id(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str, how: How
) -> None:
    """With retry the message is confirmed by its second writing, and the queue holds it twice under one message_id."""
    checker = TotalQueueChecker()
    url = f"{broker.amqp_url(port=proxy.port, vhost=vhost)}?heartbeat=1"
    with open_pool(url) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "first", checker)
        cut = proxy.cut("basic.ack", how=how)
        confirmation = publish_recorded(publisher, queue_name, "again", checker, timeout=15.0)
        assert cut.wait(5.0)
        assert (confirmation.outcome, confirmation.message_id, confirmation.attempts) == ("confirmed", "again", 2)
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    verdict = judge(checker)
    assert (verdict.confirmed, verdict.received, verdict.duplicates) == (2, 2, 1)


def test_confirms_cut_off_in_the_middle_of_a_pipeline_lose_nothing(
    broker: RabbitMQNode, proxy: FaultProxy, vhost: str, queue_name: str
) -> None:
    """1,000 messages in one call, the third confirm frame never arrives: all confirmed, what came twice is counted."""
    checker = TotalQueueChecker()
    with open_pool(broker.amqp_url(port=proxy.port, vhost=vhost)) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "first", checker)
        cut = proxy.cut("basic.ack", nth=3, how="reset")
        report = publisher.publish_many(queue_name, [b"body"] * 1000, timeout=30.0)
        assert cut.wait(5.0)
        for outcome in report:
            checker.record_attempt(outcome.message_id)
            checker.record_publish(outcome.message_id, str(outcome.outcome))  # type: ignore[arg-type]
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    verdict = judge(checker)
    assert verdict.confirmed == 1001
    written_again = sum(outcome.attempts - 1 for outcome in report)
    assert 0 < verdict.duplicates <= written_again, "a message comes twice only if it was written twice"
