"""Row 26 of the fault matrix: channels that are never returned, a pool that has none left, a pool that is never closed."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults.harness import Waiter, drain, judge, open_pool, until
from faults.processes import record, run_program
from rmqpool import (
    ConnectionPool,
    LeasedChannel,
    LeaseReleasedError,
    PoolClosedError,
    PoolTimeoutError,
    TooManyWaitingError,
)
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.garbage import collect_until


def borrow_and_forget(pool: ConnectionPool) -> None:
    """The leak: a channel that nobody gives back, and nobody holds."""
    pool.channel(timeout=5)


def borrow_and_keep(pool: ConnectionPool) -> LeasedChannel:
    """A channel that somebody holds for too long."""
    return pool.channel(timeout=5)


@pytest.mark.rmqpool_leaves_leases
def test_channel_that_is_dropped_is_reported_with_its_borrower_and_comes_back(
    vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A lease that is garbage warns, with the thread and the stack that borrowed it; its place is free again."""
    with open_pool(vhost_url, channels_per_connection=1) as pool:
        for _ in range(3):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                borrow_and_forget(pool)
                collect_until(caught.copy, "the warning")
            (warning,) = [warning for warning in caught if warning.category is ResourceWarning]
            assert "a leased channel was never released" in str(warning.message)
            assert "in borrow_and_forget" in str(warning.message)
            assert threading.current_thread().name in str(warning.message)
            with pool.channel(timeout=5) as channel:
                assert channel.queue_declare("", exclusive=True).queue
        channels = pool.stats().channels
        assert channels is not None
        assert channels.leased == 0
    assert sum("in borrow_and_forget" in message for message in caplog.messages) == 3


def test_exhausted_pool_says_who_holds_what_by_the_deadline(vhost_url: str) -> None:
    """No channel left: an error at the deadline with the numbers and the longest lease's stack; a returned one serves again."""
    with open_pool(vhost_url, channels_per_connection=2) as pool:
        kept = [borrow_and_keep(pool), borrow_and_keep(pool)]
        waiting = Waiter(lambda: pool.channel(timeout=0.5)).wait(5.0)

        assert isinstance(waiting.error, PoolTimeoutError)
        assert 0.5 <= waiting.seconds < 2.0
        for words in ("within 0.5 s", "2 of 2 channels leased", "longest lease", "in borrow_and_keep"):
            assert words in str(waiting.error)
        kept[0].release()
        with pool.channel(timeout=1):
            pass
        kept[1].release()


def test_waiters_are_served_in_turn_and_one_too_many_is_refused_at_once(vhost_url: str) -> None:
    """max_waiting: the third waiter is refused at once with the numbers; the two before get the channel in their order."""
    served: list[str] = []
    with open_pool(vhost_url, channels_per_connection=1, max_waiting=2) as pool:

        def use(name: str) -> None:
            with pool.channel(timeout=10):
                served.append(name)

        kept = borrow_and_keep(pool)
        first = Waiter(lambda: use("first"))
        until(lambda: pool.stats().channels.waiting == 1, "the first waiter")  # type: ignore[union-attr]
        second = Waiter(lambda: use("second"))
        until(lambda: pool.stats().channels.waiting == 2, "the second waiter")  # type: ignore[union-attr]
        third = Waiter(lambda: pool.channel(timeout=10)).wait(5.0)
        assert isinstance(third.error, TooManyWaitingError)
        assert "max_waiting=2" in str(third.error)
        assert third.seconds < 1.0
        kept.release()
        assert first.wait(5.0).error is None
        assert second.wait(5.0).error is None
    assert served == ["first", "second"]


def test_exhaustion_by_a_dead_broker_names_the_last_error(broker: RabbitMQNode, vhost: str) -> None:
    """When there is no connection to open a channel on, the error says that, with the connection's error as its cause."""
    with (
        FaultProxy((broker.host, broker.port)) as proxy,
        open_pool(broker.amqp_url(vhost=vhost, port=proxy.port)) as pool,
    ):
        with pool.channel(timeout=5) as channel:
            proxy.refuse()
            proxy.reset()
            until(lambda: not channel.is_open, "the end of the lease")
        waiting = Waiter(lambda: pool.channel(timeout=1.0)).wait(5.0)
        assert isinstance(waiting.error, PoolTimeoutError)
        assert "is not ready" in str(waiting.error)
        assert "Connection refused" in str(waiting.error.__cause__)
        proxy.heal()
        with pool.channel(timeout=10) as again:
            assert again.queue_declare("", exclusive=True).queue


def test_more_threads_than_channels_all_get_their_turn(vhost_url: str) -> None:
    """Thirty threads share three channels: nobody starves, and there are never more than three."""
    with open_pool(vhost_url, channels_per_connection=3) as pool, ThreadPoolExecutor(30) as threads:

        def work(number: int) -> int:
            with pool.channel(timeout=20) as channel:
                channel.queue_declare("", exclusive=True, auto_delete=True)
                channels = pool.stats().channels
                assert channels is not None
                return channels.leased

        leased = list(threads.map(work, range(90)))
    assert len(leased) == 90
    assert max(leased) <= 3


def test_closing_the_pool_ends_waiters_and_leases(vhost_url: str) -> None:
    """close() with a channel out and a caller waiting: both end at once with the reason; using the lease says so."""
    pool = ConnectionPool(vhost_url, channels_per_connection=1)
    kept = borrow_and_keep(pool)
    waiting = Waiter(lambda: pool.channel(timeout=20))
    until(lambda: pool.stats().channels.waiting == 1, "the waiter")  # type: ignore[union-attr]

    assert pool.close(timeout=5)

    assert isinstance(waiting.wait(2.0).error, PoolClosedError)
    with pytest.raises(PoolClosedError):
        kept.queue_declare("anything")
    kept.release()
    with pytest.raises(LeaseReleasedError):
        kept.queue_declare("anything")


def test_pool_dropped_without_close_warns_and_ends(broker: RabbitMQNode, queue_name: str) -> None:
    """A pool that is garbage: a ResourceWarning that names it without its password, and no thread is left."""
    ended = run_program("dropped_pool", broker.amqp_url(), queue_name, timeout=30)

    assert ended.code == 0, ended.stderr
    (warned,), (left,), (running,) = ended.of("warnings"), ended.of("left"), ended.of("threads")
    assert sum(name.startswith("rmqpool ") for name in running["names"]) == 2
    assert warned["categories"] == ["ResourceWarning"]
    assert "was dropped without close()" in warned["texts"][0]
    assert "a ConnectionPool of amqp://" in warned["texts"][0]
    assert broker.password not in warned["texts"][0] + ended.stderr
    assert left["names"] == ["MainThread"]
    checker = TotalQueueChecker()
    record(ended, checker)
    drain(broker.amqp_url(), queue_name, checker)
    assert judge(checker).received == 5
