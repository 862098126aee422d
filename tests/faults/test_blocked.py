"""Row 8 of the fault matrix: the broker raises a memory or disk alarm and takes no messages for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from faults.harness import Collector, Events, Waiter, drain, figures, judge, open_pool, publish_recorded, until
from rmqpool import ConnectionPool, Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.errors import NotSentError, UnknownOutcomeError
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.rabbitmq_node import RabbitMQNode

Alarm = tuple[Callable[[], None], Callable[[], None]]


@pytest.fixture
def memory_alarm(private_broker: RabbitMQNode) -> Iterator[Alarm]:
    """Raise and clear; cleared in any case, because the node is used again."""
    yield private_broker.raise_memory_alarm, private_broker.clear_memory_alarm
    private_broker.clear_memory_alarm()


def _block(pool: ConnectionPool, publisher: Publisher, queue: str, checker: TotalQueueChecker, events: Events) -> None:
    """The broker blocks a connection at its first publish during the alarm: that one is written, its outcome unknown."""
    error = publish_recorded(publisher, queue, "written", checker, timeout=0.5)
    assert isinstance(error, UnknownOutcomeError), repr(error)
    assert error.attempts == 1
    events.wait_for(LinkEvent.BLOCKED, role="publish")
    assert pool.stats().blocked


def test_publishes_end_by_their_deadline_during_a_memory_alarm_and_it_recovers(
    private_broker: RabbitMQNode, queue_name: str, memory_alarm: Alarm
) -> None:
    """Written: unknown. Unwritten: not sent, and the error says why. Cleared: confirmed again without any help."""
    raise_alarm, clear_alarm = memory_alarm
    checker, events = TotalQueueChecker(), Events()
    with open_pool(private_broker.amqp_url(), on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "before", checker)
        raise_alarm()
        _block(pool, publisher, queue_name, checker, events)
        error = publish_recorded(publisher, queue_name, "unwritten", checker, timeout=1.0)
        assert isinstance(error, NotSentError)
        assert error.attempts == 0
        assert "the broker blocks publishing (low on memory)" in str(error)
        checker.record_attempt("waiting")
        waiting = Waiter(lambda: publisher.publish(queue_name, b"x", message_id="waiting", timeout=20.0))
        blocked = pool.stats()
        assert blocked.blocked == "low on memory"
        assert blocked.publish[0].blocked_seconds > 0.5
        clear_alarm()
        events.wait_for(LinkEvent.UNBLOCKED, role="publish")
        assert waiting.wait(10.0).result.attempts == 1
        checker.record_publish("waiting", "confirmed")
        assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
        assert pool.stats().blocked is None
        assert pool.stats().reconnects == 0, "an alarm is no reason to reconnect"
    drain(private_broker.amqp_url(), queue_name, checker)
    verdict = judge(checker)
    assert (verdict.confirmed, verdict.not_sent, verdict.unknown) == (3, 1, 1)


def test_a_disk_alarm_is_the_same(private_broker: RabbitMQNode, queue_name: str) -> None:
    """The reason is the broker's own: low on disk."""
    checker, events = TotalQueueChecker(), Events()
    with open_pool(private_broker.amqp_url(), on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "before", checker)
        private_broker.raise_disk_alarm()
        try:
            _block(pool, publisher, queue_name, checker, events)
            error = publish_recorded(publisher, queue_name, "unwritten", checker, timeout=0.3)
            assert error.outcome == "not_sent"
            assert "low on disk" in str(error)
        finally:
            private_broker.clear_disk_alarm()
        assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
    drain(private_broker.amqp_url(), queue_name, checker)
    judge(checker)


def test_consumers_and_leased_channels_go_on_during_an_alarm(
    private_broker: RabbitMQNode, queue_name: str, memory_alarm: Alarm
) -> None:
    """Consuming, acknowledging and declaring have connections of their own: the block of publishing does not touch them."""
    raise_alarm, clear_alarm = memory_alarm
    checker, events = TotalQueueChecker(), Events()
    other = f"{queue_name}-declared-while-blocked"
    with open_pool(private_broker.amqp_url(), on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        for number in range(200):
            publish_recorded(publisher, queue_name, f"m-{number}", checker)
        raise_alarm()
        _block(pool, publisher, queue_name, checker, events)
        with Collector(pool, queue_name, checker, prefetch=10):
            until(lambda: checker.missing() == 0, "all deliveries, ten at a time, during the alarm")
        with pool.channel(timeout=5.0) as channel:
            assert channel.queue_declare(other, timeout=5.0).queue == other
            left = channel.queue_declare(queue_name, passive=True, timeout=5.0)
            assert left.consumer_count in (0, 1)
        until(lambda: _unacknowledged(private_broker, queue_name) == 0, "every acknowledgement to arrive")
        assert pool.stats().blocked
        clear_alarm()
        assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
    drain(private_broker.amqp_url(), queue_name, checker)
    assert judge(checker).redelivered == 0, "what was acknowledged during the alarm does not come back"


def _unacknowledged(node: RabbitMQNode, queue: str) -> int:
    return sum(row["messages_unacknowledged"] for row in node.list_queues() if row["name"] == queue)


def test_a_blocked_connection_is_not_taken_for_dead(
    private_broker: RabbitMQNode, queue_name: str, memory_alarm: Alarm
) -> None:
    """An alarm of three heartbeats and more: the connection stays, and what waited is written once."""
    raise_alarm, clear_alarm = memory_alarm
    checker, events = TotalQueueChecker(), Events()
    with open_pool(private_broker.amqp_url(), heartbeat=1, on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "before", checker)
        raise_alarm()
        _block(pool, publisher, queue_name, checker, events)
        error = publish_recorded(publisher, queue_name, "three-heartbeats", checker, timeout=3.5)
        assert error.outcome == "not_sent"
        clear_alarm()
        assert publish_recorded(publisher, queue_name, "after", checker).attempts == 1
        assert not events.of(LinkEvent.CONNECTION_LOST)
    drain(private_broker.amqp_url(), queue_name, checker)
    judge(checker)


def test_blocked_timeout_ends_what_is_queued_early(
    private_broker: RabbitMQNode, queue_name: str, memory_alarm: Alarm
) -> None:
    """With blocked_timeout=1.5 what is queued ends 1.5 s after the block began, and what comes later at once."""
    raise_alarm, clear_alarm = memory_alarm
    checker, events = TotalQueueChecker(), Events()
    with open_pool(private_broker.amqp_url(), blocked_timeout=1.5, on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publish_recorded(publisher, queue_name, "before", checker)
        raise_alarm()
        _block(pool, publisher, queue_name, checker, events)
        for name, at_most in (("queued", 2.0), ("queued-later", 0.5)):
            began = time.monotonic()
            error = publish_recorded(publisher, queue_name, name, checker, timeout=30.0)
            took = time.monotonic() - began
            figures("%s ended after %.2f s of a deadline of 30 s", name, took)
            assert isinstance(error, NotSentError)
            assert "longer than blocked_timeout" in str(error)
            assert took < at_most
        clear_alarm()
        assert publish_recorded(publisher, queue_name, "after", checker).outcome == "confirmed"
    drain(private_broker.amqp_url(), queue_name, checker)
    verdict = judge(checker)
    assert (verdict.not_sent, verdict.unknown) == (2, 1)


def test_a_pool_closes_in_time_while_it_is_blocked(
    private_broker: RabbitMQNode, queue_name: str, memory_alarm: Alarm
) -> None:
    """close(timeout) returns by its time during an alarm, and every future has its outcome then."""
    raise_alarm, _ = memory_alarm
    checker, events = TotalQueueChecker(), Events()
    pool = ConnectionPool(private_broker.amqp_url(), on_event=events)
    publisher = Publisher(pool, declare=[Queue(queue_name)])
    publish_recorded(publisher, queue_name, "before", checker)
    raise_alarm()
    _block(pool, publisher, queue_name, checker, events)
    future = publisher.submit(queue_name, b"x", timeout=30.0)
    began = time.monotonic()
    clean = pool.close(timeout=2.0)
    took = time.monotonic() - began
    assert not clean, "a message was left over"
    assert took < 3.0
    error = future.exception(timeout=1.0)
    assert isinstance(error, NotSentError)
    assert "the pool was closed" in str(error)
