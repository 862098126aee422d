"""What leasing promises: channels in turn, nothing broken or unclean handed out, honest refusals, and no slot lost."""

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from background import in_thread

from rmqpool import (
    ConnectionFailedError,
    ConnectionPool,
    LeaseReleasedError,
    NotFoundError,
    PoolTimeoutError,
    TooManyWaitingError,
)
from rmqpool.lease import LeasedChannel
from rmqpool.pool_stats import ChannelStats
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.garbage import collect_until

MakePool = Callable[..., ConnectionPool]
Connections = Callable[..., list[dict[str, Any]]]


def channels(pool: ConnectionPool) -> ChannelStats:
    stats = pool.stats().channels
    assert stats is not None
    return stats


def serial_of(channel: LeasedChannel) -> int:
    return channel._channel.serial


def test_a_clean_channel_is_used_again(pool: ConnectionPool, queue_name: str) -> None:
    """Declaring, looking, purging and publishing leave it clean."""
    with pool.channel() as channel:
        first = serial_of(channel)
        channel.queue_declare(queue_name)
        channel.basic_publish("", queue_name, b"x")
        channel.basic_get(queue_name, auto_ack=True)
        channel.queue_purge(queue_name)
    with pool.channel() as channel:
        assert serial_of(channel) == first
    assert channels(pool).opened == 1


UNCLEAN: dict[str, Callable[[LeasedChannel, str], object]] = {
    "unacknowledged": lambda channel, queue: channel.basic_get(queue),
    "confirm mode": lambda channel, queue: channel.confirm_delivery(),
    "transaction mode": lambda channel, queue: channel.tx_select(),
    "prefetch": lambda channel, queue: channel.basic_qos(prefetch_count=5),
    "consumed": lambda channel, queue: next(channel.basic_consume(queue, auto_ack=True)),
}


@pytest.mark.parametrize("what", UNCLEAN)
def test_an_unclean_channel_is_never_used_again(pool: ConnectionPool, queue_name: str, what: str) -> None:
    """Unacknowledged deliveries, modes and consumers would be the next borrower's."""
    with pool.channel() as channel:
        first = serial_of(channel)
        channel.queue_declare(queue_name)
        channel.basic_publish("", queue_name, b"x")
        UNCLEAN[what](channel, queue_name)
    with pool.channel() as channel:
        assert serial_of(channel) != first
    assert channels(pool).thrown_away == 1


def test_a_broken_channel_is_thrown_away_and_lowers_nothing(make_pool: MakePool) -> None:
    """However often it happens."""
    pool = make_pool(channels_per_connection=2)
    for _ in range(6):
        with pool.channel(timeout=5) as channel, pytest.raises(NotFoundError, match="no queue 'missing'"):
            channel.queue_declare("missing", passive=True)
    with pool.channel(timeout=5) as one, pool.channel(timeout=5) as two:
        assert one.is_open
        assert two.is_open
    assert channels(pool).capacity == 2


def test_an_error_in_the_block_gives_the_channel_back(pool: ConnectionPool) -> None:
    """The with block releases it in any case."""
    with pytest.raises(RuntimeError), pool.channel():
        raise RuntimeError("the user's")
    assert channels(pool).leased == 0


def test_after_release_every_call_fails(pool: ConnectionPool, queue_name: str) -> None:
    """The channel may be somebody else's by now; a second release does nothing."""
    with pool.channel() as channel:
        channel.queue_declare(queue_name)
    channel.release()
    for call in (
        lambda: channel.queue_declare(queue_name),
        lambda: channel.basic_get(queue_name),
        lambda: channel.basic_publish("", queue_name, b"x"),
        lambda: channel.basic_ack(1),
        lambda: channel.confirm_delivery(),
        lambda: channel.basic_consume(queue_name),
        lambda: channel.tx_select(),
        lambda: channel.basic_qos(1),
    ):
        with pytest.raises(LeaseReleasedError):
            call()
    assert not channel.is_open
    assert channels(pool).idle == 1


def test_waiters_are_served_first_in_first_out(make_pool: MakePool) -> None:
    """By direct hand-off: a newcomer does not overtake."""
    pool = make_pool(channels_per_connection=1)
    order: list[int] = []
    held = pool.channel()
    threads = []
    for number in range(5):

        def lease(number: int = number) -> None:
            with pool.channel(timeout=10):
                order.append(number)

        threads.append(in_thread(lease)[0])
        wait_until(lambda count=number + 1: channels(pool).waiting == count, "the next in line", timeout=5)
    held.release()
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3, 4]


def test_exhaustion_is_told_with_the_numbers(make_pool: MakePool) -> None:
    """After the timeout: leased, waiting, the longest lease and where it was borrowed."""
    pool = make_pool(channels_per_connection=2)
    with pool.channel(), pool.channel():
        began = time.monotonic()
        with pytest.raises(PoolTimeoutError) as caught:
            pool.channel(timeout=0.2)
        assert 0.15 < time.monotonic() - began < 2
    assert "2 of 2 channels leased" in str(caught.value)
    assert "longest lease" in str(caught.value)
    assert "test_exhaustion_is_told_with_the_numbers" in str(caught.value)
    assert channels(pool).timed_out == 1


def test_an_unreachable_broker_is_told_with_its_cause(make_pool: MakePool) -> None:
    """The pool is not full, it has no connection."""
    port = ReservedPort()
    pool = make_pool(f"amqp://127.0.0.1:{port.number}/")
    with pytest.raises(PoolTimeoutError, match="is not ready") as caught:
        pool.channel(timeout=0.3)
    assert isinstance(caught.value.__cause__, ConnectionFailedError)
    port.release()


def test_more_waiters_than_allowed_are_refused_at_once(make_pool: MakePool) -> None:
    """max_waiting bounds the queue in front of the pool."""
    pool = make_pool(channels_per_connection=1, max_waiting=1)
    held = pool.channel()
    thread, results = in_thread(lambda: pool.channel(timeout=10).release())
    wait_until(lambda: channels(pool).waiting == 1, "the one that may wait", timeout=5)
    began = time.monotonic()
    with pytest.raises(TooManyWaitingError, match="max_waiting=1"):
        pool.channel(timeout=10)
    assert time.monotonic() - began < 1
    held.release()
    thread.join(5)
    assert results == [None]


@pytest.mark.rmqpool_leaves_leases
def test_a_lease_that_is_dropped_comes_back(make_pool: MakePool, caplog: pytest.LogCaptureFixture) -> None:
    """With a ResourceWarning and a log line that name the borrower; its slot is free again."""
    pool = make_pool(channels_per_connection=1)
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.ERROR, logger="rmqpool"):
        warnings.simplefilter("always")
        pool.channel()
        collect_until(lambda: caught and "test_a_lease_that_is_dropped_comes_back" in caplog.text, "its end")
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert "test_a_lease_that_is_dropped_comes_back" in caplog.text
    with pool.channel(timeout=5) as channel:
        assert channel.is_open
    assert channels(pool).thrown_away == 1


def test_resizing_changes_the_number_of_channels(make_pool: MakePool) -> None:
    """Up at once; down as they come back."""
    pool = make_pool(channels_per_connection=1)
    held = pool.channel()
    pool.resize(channels_per_connection=3)
    others = [pool.channel(timeout=5), pool.channel(timeout=5)]
    pool.resize(channels_per_connection=1)
    for channel in (held, *others):
        channel.release()
    assert channels(pool).leased + channels(pool).idle == 1


def test_idle_channels_end_after_max_idle(make_pool: MakePool, broker: RabbitMQNode, vhost: str) -> None:
    """On the broker too."""
    pool = make_pool(max_idle=0.2)
    with pool.channel():
        pass
    assert channels(pool).idle == 1
    wait_until(lambda: channels(pool).idle == 0, "the end of the idle channel", timeout=5)
    wait_until(lambda: not [row for row in broker.list_channels() if row["vhost"] == vhost], "no channel", timeout=5)


def test_leases_survive_a_lost_connection(pool: ConnectionPool, broker: RabbitMQNode, queue_name: str) -> None:
    """The lease that was held ends with its error; the next one works."""
    with pool.channel() as channel:
        channel.queue_declare(queue_name)
        lease = pool.stats().lease
        assert lease is not None
        broker.close_connection(lease.name)
        wait_until(lambda: not channel.is_open, "the end of the channel", timeout=5)
        with pytest.raises(Exception, match="was lost"):
            channel.queue_declare(queue_name)
    with pool.channel(timeout=5) as channel:
        assert channel.queue_declare(queue_name, passive=True).queue == queue_name
    assert channels(pool).leased == 0


def test_many_threads_share_few_channels(make_pool: MakePool, queue_name: str) -> None:
    """Everybody gets one in time, and never more than there are."""
    pool = make_pool(channels_per_connection=4)
    most: list[int] = []

    def work() -> None:
        for _ in range(10):
            with pool.channel(timeout=20) as channel:
                channel.queue_declare(queue_name)
                most.append(channels(pool).leased)

    started = [in_thread(work) for _ in range(24)]
    for thread, _ in started:
        thread.join(30)
    assert [results for _, results in started] == [[None]] * 24
    assert max(most) <= 4
    assert channels(pool).granted == 240
    assert channels(pool).opened <= 4
