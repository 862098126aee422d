"""What getting from a leased channel promises: each delivery is settled once, and what is not settled comes back."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from rmqpool import (
    ConnectionPool,
    LeasedChannel,
    LeaseReleasedError,
    Queue,
)
from rmqpool.testing.waiting import wait_until
from tests.integration.leased_channel.conftest import fill

MakePool = Callable[..., ConnectionPool]


def test_get_takes_messages_in_turn_and_none_from_an_empty_queue(
    channel: LeasedChannel, queue: str, holds_nothing: Callable[[str], None]
) -> None:
    """With everything that the message carries."""
    fill(channel, queue, b"a", b"b")
    first, second = channel.basic_get(queue), channel.basic_get(queue)
    assert first is not None
    assert second is not None
    assert [first.body, second.body] == [b"a", b"b"]
    assert (first.queue, first.routing_key, first.redelivered, first.headers) == (queue, queue, False, {})
    assert channel.basic_get(queue) is None
    channel.basic_ack(second.delivery_tag, multiple=True)
    holds_nothing(queue)


def test_a_delivery_settles_itself_once(
    channel: LeasedChannel, queue: str, holds_nothing: Callable[[str], None]
) -> None:
    """A second time is False, and nothing is sent that would close the channel."""
    fill(channel, queue, b"a")
    delivery = channel.basic_get(queue)
    assert delivery is not None
    assert delivery.ack() is True
    assert delivery.ack() is False
    assert delivery.nack() is False
    assert delivery.settled == "ack"
    holds_nothing(queue)


@pytest.mark.parametrize("settle", ["basic_nack", "basic_reject"])
def test_what_is_refused_goes_back(channel: LeasedChannel, queue: str, settle: str) -> None:
    """Marked as redelivered; without requeue it is gone."""
    fill(channel, queue, b"a")
    delivery = channel.basic_get(queue)
    assert delivery is not None
    getattr(channel, settle)(delivery.delivery_tag, requeue=True)
    delivery = channel.basic_get(queue)
    assert delivery is not None
    assert delivery.redelivered
    getattr(channel, settle)(delivery.delivery_tag, requeue=False)
    assert channel.basic_get(queue) is None


def test_acknowledging_twice_raises_and_spares_the_channel(
    channel: LeasedChannel, queue: str, holds_nothing: Callable[[str], None]
) -> None:
    """The broker would answer with 406, and give back everything that is unacknowledged."""
    fill(channel, queue, b"a", b"b")
    first, second = channel.basic_get(queue), channel.basic_get(queue)
    assert first is not None
    assert second is not None
    channel.basic_ack(first.delivery_tag)
    for wrong in (
        lambda: channel.basic_ack(first.delivery_tag),
        lambda: channel.basic_nack(first.delivery_tag),
        lambda: channel.basic_reject(99),
        lambda: channel.basic_ack(99, multiple=True),
    ):
        with pytest.raises(LeaseReleasedError, match="Nothing was sent"):
            wrong()
    channel.basic_ack(second.delivery_tag)
    holds_nothing(queue)


def test_zero_and_multiple_acknowledges_everything(
    channel: LeasedChannel, queue: str, holds_nothing: Callable[[str], None]
) -> None:
    """As AMQP says; with nothing left it is an error."""
    fill(channel, queue, b"a", b"b", b"c")
    assert all(channel.basic_get(queue) for _ in range(3))
    channel.basic_ack(0, multiple=True)
    with pytest.raises(LeaseReleasedError):
        channel.basic_ack(0, multiple=True)
    holds_nothing(queue)


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Threads change places as often as CPython lets them, so that races happen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_one_delivery_acknowledged_by_many_threads_is_acknowledged_once(
    busy_switching: None, channel: LeasedChannel, queue: str
) -> None:
    """The channel lives, whoever wins."""
    for _ in range(20):
        fill(channel, queue, b"a")
        delivery = channel.basic_get(queue)
        assert delivery is not None
        barrier, answers = threading.Barrier(4), list[bool]()

        def ack(
            delivery: object = delivery, barrier: threading.Barrier = barrier, answers: list[bool] = answers
        ) -> None:
            barrier.wait(5)
            answers.append(delivery.ack())  # type: ignore[attr-defined]

        threads = [threading.Thread(target=ack) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert sorted(answers) == [False, False, False, True]
    assert channel.is_open


def test_what_was_not_acknowledged_comes_back_after_release(pool: ConnectionPool, queue_name: str) -> None:
    """And a settlement after release is stale: False."""
    with pool.channel() as channel:
        channel.queue_declare(queue_name)
        fill(channel, queue_name, b"a")
        delivery = channel.basic_get(queue_name)
    assert delivery is not None
    assert delivery.ack() is False
    with pool.channel() as channel:
        again = wait_until(lambda: channel.basic_get(queue_name, auto_ack=True), "the message", timeout=5)
        assert again.redelivered


def test_acknowledged_at_once_and_closed_nothing_comes_again(
    pool: ConnectionPool, channel: LeasedChannel, queue_name: str
) -> None:
    """RabbitMQ forgets what it has not told a quorum queue when a channel closes over many acknowledgements."""
    channel.queue_declare(Queue(queue_name, dead_letter=None))
    fill(channel, queue_name, *[b""] * 600)
    with pool.channel() as closing:
        consumer = closing.basic_consume(queue_name, prefetch=1000)
        tags = [next(consumer).delivery_tag for _ in range(600)]
        consumer.close()
        assert closing.ack_each(tags) == 600
    assert list(channel.basic_consume(queue_name, inactivity_timeout=0.5)) == []


def test_a_quorum_queue_gets_everything_back_in_its_order(channel: LeasedChannel, queue_name: str) -> None:
    """Far more than it keeps in order when a channel closes over them."""
    channel.queue_declare(Queue(queue_name, dead_letter=None))
    bodies = [b"%d" % number for number in range(600)]
    fill(channel, queue_name, *bodies)
    wait_until(
        lambda: channel.queue_declare(queue_name, passive=True).message_count == 600, "all to be ready", timeout=10
    )
    consumer = channel.basic_consume(queue_name, prefetch=1000)
    taken = [next(consumer) for _ in bodies]
    consumer.close()
    assert channel.ack_each([taken[1].delivery_tag, taken[1].delivery_tag, 10**6]) == 1
    assert sum(channel.returning(32)) == 599
    assert list(channel.returning(32)) == []
    again = channel.basic_consume(queue_name, prefetch=1000)
    assert [next(again).body for _ in range(599)] == [bodies[0], *bodies[2:]]
