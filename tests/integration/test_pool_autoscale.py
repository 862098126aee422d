"""Leased channels that follow the load: they grow while callers wait for them, shrink after quiet, and stay in their bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rmqpool import Autoscale, ConfigurationError, ConnectionPool, PoolTimeoutError
from rmqpool.pool_stats import ChannelStats
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.waiting import wait_until

QUICK = Autoscale(minimum=2, maximum=8, patience=0.01, settle=0.02, quiet=0.5)


def channels(pool: ConnectionPool) -> ChannelStats:
    """The figures of the leased channels."""
    stats = pool.stats().channels
    assert stats is not None
    return stats


@contextmanager
def holders(pool: ConnectionPool, count: int) -> Iterator[list[Any]]:
    """So many threads hold a channel, or wait for one, until the block ends; what each got is in the list."""
    enough = threading.Event()
    got: list[Any] = []

    def hold() -> None:
        try:
            with pool.channel(timeout=60) as channel:
                got.append(channel)
                enough.wait(60)
        except Exception as error:
            got.append(error)

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        enough.set()
        for thread in threads:
            thread.join(60)


def test_it_grows_while_callers_wait_and_shrinks_after_quiet(vhost_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Six hold one each at the same time, though it began with two; afterwards there are two again, each with its reason."""
    events: list[str] = []
    with (
        caplog.at_level("INFO"),
        ConnectionPool(
            vhost_url,
            channels_per_connection=2,
            autoscale=QUICK,
            max_idle=1,
            on_event=lambda event: events.append(f"{event.kind}: {event.sentence}"),
        ) as pool,
    ):
        with holders(pool, 6) as got:
            wait_until(lambda: len(got) == 6, "a channel for each", timeout=60)
            assert 6 <= channels(pool).capacity <= 8
        wait_until(lambda: channels(pool).capacity == 2, "quiet", timeout=60)
        wait_until(lambda: channels(pool).idle <= 2, "the surplus to end", timeout=60)
    assert "callers wait, the longest for" in caplog.text
    assert "were in use: from" in caplog.text
    resized = [one for one in events if one.startswith("resized: leased channels: ")]
    assert "callers wait, the longest for" in resized[0]
    assert "were in use: from" in resized[-1]


def test_it_never_grows_beyond_its_maximum(vhost_url: str) -> None:
    """Who is left waits as ever, and is served."""
    with ConnectionPool(vhost_url, channels_per_connection=2, autoscale=QUICK) as pool:
        with holders(pool, 12) as got:
            wait_until(lambda: channels(pool).leased == 8, "the maximum", timeout=60)
            with pytest.raises(PoolTimeoutError):
                pool.channel(timeout=1)
            assert channels(pool).capacity == 8
            assert len(got) == 8
        assert len(got) == 12
        assert not [one for one in got if isinstance(one, Exception)]


def test_a_resize_by_hand_counts_within_the_bounds(vhost_url: str) -> None:
    """And so does the size at the beginning."""
    with ConnectionPool(vhost_url, channels_per_connection=20, autoscale=QUICK) as pool, pool.channel():
        assert channels(pool).capacity == 8
        pool.resize(channels_per_connection=1)
        wait_until(lambda: channels(pool).capacity == 2, "the minimum", timeout=60)


def test_without_a_connection_nothing_grows() -> None:
    """Everybody waits for the broker then, whatever the size."""
    port = ReservedPort()
    pool = ConnectionPool(f"amqp://127.0.0.1:{port.number}/", channels_per_connection=2, autoscale=QUICK)
    port.release()
    threads = [threading.Thread(target=ignoring(lambda: pool.channel(timeout=1.5))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert channels(pool).timed_out == 6
    assert channels(pool).capacity == 2
    assert pool.close()


def ignoring(function: Callable[[], object]) -> Callable[[], None]:
    """The function, with what it raises for want of a connection left out."""

    def run() -> None:
        with pytest.raises(PoolTimeoutError):
            function()

    return run


def test_bounds_that_cannot_be_are_refused() -> None:
    """One channel of the connection stays for declarations."""
    with pytest.raises(ConfigurationError, match="give Autoscale"):
        ConnectionPool(autoscale=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="channel_max of the URL 64"):
        ConnectionPool("amqp://localhost/?channel_max=64", autoscale=Autoscale(maximum=64))
