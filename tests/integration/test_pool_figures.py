"""What a pool tells of itself is true: its counts and times, leaks, events, the round trip, the verdict."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from rmqpool import (
    CallTimeoutError,
    ConnectionPool,
    NotFoundError,
    PoolEvent,
    PoolTimeoutError,
    Publisher,
    TooManyWaitingError,
)
from rmqpool.pool_stats import ChannelStats
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.garbage import collect_until

MakePool = Callable[..., ConnectionPool]
PATIENCE = 60.0  # seconds: for a machine that is much slower


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[PoolEvent] = []

    def __call__(self, event: PoolEvent) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[str]:
        return [event.sentence for event in self.events if event.kind == kind]


def channels(pool: ConnectionPool) -> ChannelStats:
    stats = pool.stats().channels
    assert stats is not None
    return stats


@pytest.fixture
def proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    with FaultProxy((broker.host, broker.port)) as fault_proxy:
        yield fault_proxy


@pytest.fixture
def proxy_url(broker: RabbitMQNode, vhost: str, proxy: FaultProxy) -> str:
    return broker.amqp_url(vhost=vhost, host="127.0.0.1", port=proxy.port)


def test_a_lease_that_lasts_is_reported_and_again_when_it_comes_back(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    """With the thread, where it was borrowed and what the thread does now; once, in the log and as an event; counted."""
    heard = Heard()
    pool = make_pool(leak_after=0.05, on_event=heard)
    with caplog.at_level(logging.WARNING, logger="rmqpool"):
        with pool.channel():
            wait_until(lambda: heard.of("lease_overdue"), "the report", timeout=PATIENCE)
            assert channels(pool).overdue == 1
            assert pool.health().kind == "leak"
            assert "1 held for too long" in repr(pool)
        with pool.channel():
            pass  # in time, most likely; if not it is one more
    assert "test_pool_figures.py" in heard.of("lease_overdue")[0]
    assert "with pool.channel()" in heard.of("lease_overdue")[0]
    assert "wait_until" in heard.of("lease_overdue")[0].partition("That thread is now at:")[2]
    assert "MainThread" in heard.of("lease_overdue")[0]
    assert "came back after" in heard.of("lease_returned")[0]
    assert "is it ever released?" in caplog.text
    assert "came back after" in caplog.text
    assert (channels(pool).leaked >= 1, channels(pool).overdue) == (True, 0)


def test_a_lease_is_watched_also_where_opening_it_took_longer(broker: RabbitMQNode, vhost_url: str) -> None:
    """The watch does not end before there is anything to watch."""
    heard = Heard()
    with FaultProxy(("127.0.0.1", broker.port)) as proxy:
        proxy.latency(0.1)
        slow_url = vhost_url.replace(str(broker.port), str(proxy.port))
        with ConnectionPool(slow_url, leak_after=0.02, on_event=heard) as pool, pool.channel():
            wait_until(lambda: heard.of("lease_overdue"), "the report", timeout=PATIENCE)


def test_nobody_is_reported_unless_asked_for(pool: ConnectionPool) -> None:
    """Consuming leases last for ever, and are no leak."""
    with pool.channel():
        assert channels(pool).overdue == channels(pool).leaked == 0
        assert pool.health().kind == "ok"


@pytest.mark.rmqpool_leaves_leases
def test_a_dropped_lease_is_counted_and_told(make_pool: MakePool) -> None:
    """Its place is free again, and the verdict says what happened."""
    heard = Heard()
    pool = make_pool(on_event=heard)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pool.channel()
        collect_until(lambda: channels(pool).dropped == 1 and channels(pool).leased == 0, "its end")
    assert "test_pool_figures.py" in heard.of("lease_dropped")[0]
    assert pool.health().kind == "leak"


def test_leases_are_counted_and_timed(make_pool: MakePool) -> None:
    """Waiting, holding, opening; who gave up and who was refused, by the kind of the error."""
    heard = Heard()
    pool = make_pool(channels_per_connection=1, max_waiting=1, on_event=heard)
    for _ in range(3):
        with pool.channel():
            pass
    with pool.channel():
        with pytest.raises(PoolTimeoutError):
            pool.channel(timeout=0.05)
        waiter = threading.Thread(target=lambda: pool.channel(timeout=PATIENCE).release())
        waiter.start()
        wait_until(lambda: channels(pool).waiting == 1, "a waiting caller", timeout=PATIENCE)
        with pytest.raises(TooManyWaitingError):
            pool.channel()
        assert channels(pool).longest_wait > 0
        assert pool.health().kind == "saturated"
    waiter.join()
    told = channels(pool)
    assert (told.granted, told.timed_out, told.refused, told.opened) == (5, 1, 1, 1)
    assert (told.wait_time.count, told.use_time.count, told.create_time.count) == (5, 5, 1)
    assert 0 < told.create_time.longest <= told.wait_time.longest
    assert pool.stats().errors == {"PoolTimeoutError": 1, "TooManyWaitingError": 1}
    assert (len(heard.of("acquire_timed_out")), len(heard.of("acquire_refused"))) == (1, 1)


def test_pop_stats_tells_what_is_new_and_takes_nothing_from_stats(pool: ConnectionPool) -> None:
    """Counts since the last call; what is so at this moment stays."""
    with pool.channel() as channel, pytest.raises(NotFoundError):
        channel.queue_declare("missing", passive=True)
    first = pool.pop_stats()
    assert first.channels is not None
    assert (first.channels.granted, first.errors, first.connects) == (1, {"NotFoundError": 1}, 1)
    with pool.channel():
        second = pool.pop_stats()
        assert second.channels is not None
        assert (second.channels.granted, second.channels.leased, second.errors) == (1, 1, {})
        assert (second.channels.wait_time.count, second.channels.use_time.count, second.connects) == (1, 0, 0)
    third = pool.pop_stats()
    assert third.channels is not None
    assert (third.channels.granted, third.channels.use_time.count) == (0, 1)
    assert channels(pool).granted == 2
    assert pool.stats().errors == {"NotFoundError": 1}


def test_what_was_counted_outlives_its_connections(make_pool: MakePool, proxy: FaultProxy, proxy_url: str) -> None:
    """Reconnects, errors and connecting times are the pool's, also after a drain replaced every connection."""
    heard = Heard()
    pool = make_pool(proxy_url, on_event=heard)
    pool.open(timeout=PATIENCE)
    proxy.reset()
    wait_until(lambda: pool.stats().reconnects == 1, "the reconnect", timeout=PATIENCE)
    pool.drain(timeout=PATIENCE)
    pool.wait(timeout=PATIENCE)
    stats = pool.stats()
    assert (stats.reconnects, stats.connects, stats.errors) == (1, 3, {"ConnectionLostError": 1})
    assert stats.connect_time.count == 3
    assert heard.of("drained")


def test_the_seconds_of_a_block_are_counted(private_broker: RabbitMQNode) -> None:
    """Also when the connection that was blocked is gone."""
    pool = ConnectionPool(private_broker.amqp_url(), name="blocked")
    try:
        publisher = Publisher(pool)
        private_broker.raise_memory_alarm()
        publisher.submit("nowhere", b"x", timeout=PATIENCE)  # the broker tells of an alarm at the first publish
        wait_until(lambda: pool.stats().blocked, "the block", timeout=PATIENCE)
        assert pool.health().kind == "blocked"
        assert pool.health().ready
        wait_until(lambda: pool.stats().blocked_seconds > 0, "some time", timeout=PATIENCE)
        private_broker.clear_memory_alarm()
        wait_until(lambda: not pool.stats().blocked, "the end of the block", timeout=PATIENCE)
        seconds = pool.stats().blocked_seconds
    finally:
        private_broker.clear_memory_alarm()
        pool.close()
    assert pool.stats().blocked_seconds == seconds > 0


def test_the_listener_hears_of_every_change(make_pool: MakePool) -> None:
    """Channels that open, are lost and close; sizes; the end. What a listener raises hurts nobody."""
    heard = Heard()

    def listen(event: PoolEvent) -> None:
        heard(event)
        raise RuntimeError("the listener's own")

    pool = make_pool(on_event=listen, name="heard")
    with pool.channel() as channel, pytest.raises(NotFoundError):
        channel.queue_declare("missing", passive=True)
    wait_until(lambda: heard.of("channel_lost"), "the end of the channel", timeout=PATIENCE)
    with pool.channel():
        pass
    pool.resize(channels_per_connection=4)
    pool.close()
    kinds = [event.kind for event in heard.events]
    assert kinds[:4] == ["connected", "channel_opened", "channel_lost", "channel_opened"]
    assert "resized" in kinds
    assert kinds[-1] == "pool_closed"
    assert "no queue 'missing'" in heard.of("channel_lost")[0]
    lost = next(event for event in heard.events if event.kind == "channel_lost")
    assert isinstance(lost.error, NotFoundError)
    assert {event.pool for event in heard.events} == {"heard"}
    assert ":lease-" in lost.connection
    assert heard.events[-1].connection == ""


def test_check_is_a_round_trip_on_every_connection(make_pool: MakePool, proxy: FaultProxy, proxy_url: str) -> None:
    """It tells the longest one in seconds, and opens a pool that was not open."""
    pool = make_pool(proxy_url, heartbeat=600)
    assert 0 < pool.check(timeout=PATIENCE) < PATIENCE
    with pool.channel():
        assert len(pool.stats().connections) == 2
        assert pool.check(timeout=PATIENCE) > 0
    assert pool.health().ready
    proxy.blackhole()
    with pytest.raises(CallTimeoutError, match="did not answer within the time"):
        pool.check(timeout=0.2)


def test_the_verdict_on_a_broker_that_is_not_there(make_pool: MakePool, proxy: FaultProxy, proxy_url: str) -> None:
    """Down, with the last error and what to do; well again by itself."""
    pool = make_pool(proxy_url)
    assert pool.health().reason == "no connection was needed yet"
    pool.open(timeout=PATIENCE)
    assert str(pool.health()) == "ok: every connection is ready, and nobody waits for long"
    proxy.refuse()
    proxy.reset()
    wait_until(lambda: not pool.health().ready, "the loss", timeout=PATIENCE)
    assert pool.health().kind == "reconnecting"
    assert "rmqpool doctor" in pool.health().recommendation
    proxy.heal()
    wait_until(lambda: pool.health().ready, "the reconnect", timeout=PATIENCE)
    pool.close()
    assert pool.health().kind == "closed"


def test_an_outage_that_is_over_is_no_reason_for_more_channels(
    make_pool: MakePool, proxy: FaultProxy, proxy_url: str
) -> None:
    """Who got no channel then had no connection; and that every connection was lost once or twice is no flapping."""
    pool = make_pool(proxy_url)
    pool.open(timeout=PATIENCE)
    with pool.channel(PATIENCE):
        proxy.refuse()
        proxy.reset()
        wait_until(lambda: not pool.health().ready, "the loss", timeout=PATIENCE)
    with pytest.raises(PoolTimeoutError):
        pool.channel(0.1)
    proxy.heal()
    wait_until(lambda: pool.health().kind != "reconnecting", "the reconnect", timeout=PATIENCE)
    proxy.reset()
    wait_until(lambda: pool.stats().reconnects >= 4, "two more", timeout=PATIENCE)
    with pool.channel(PATIENCE):
        wait_until(lambda: pool.health().kind != "reconnecting", "the reconnect", timeout=PATIENCE)
        assert (channels(pool).timed_out, channels(pool).away) == (1, 1)
        assert str(pool.health()) == "ok: every connection is ready, and nobody waits for long"
