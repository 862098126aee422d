"""Callers of the channels of a ConnectionPool, behind the face of ``pools``."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rmqpool import ConnectionPool
from rmqpool.amqp.link import LinkState
from rmqpool.testing.proxy import FaultProxy
from tests.integration.resources.pools import lifetimes_in
from tests.integration.resources.world import PATIENCE, in_thread, wait_for

__all__ = ["Channels"]


class Channels:
    """The leased channels of a ConnectionPool: what is pooled is opened by the broker, and checked by nobody.

    What is for things only, among the options, is left out.
    """

    keeps_idle = True
    warns_when_dropped = True
    known = ("timeout", "max_waiting", "max_lifetime", "max_idle", "on_event")

    def __init__(self, proxy: FaultProxy, url: str, **given: Any) -> None:
        self.proxy = proxy
        self.threads = set(threading.enumerate())
        options = {name: value for name, value in given.items() if name in self.known}
        options["channels_per_connection"] = given.get("max_size", 32)
        self.pool = ConnectionPool(url, **options)

    def acquire(self, timeout: float = PATIENCE) -> Any:
        return self.pool.channel(timeout)

    def start(self, timeout: float | None = PATIENCE) -> Future[Any]:
        return in_thread(lambda: self.pool.channel(timeout))

    def release(self, held: Any, reusable: bool = True) -> None:
        if not reusable:
            held.basic_qos(prefetch_count=3)  # an unclean channel is never used again
        held.release()

    def identity(self, held: Any) -> object:
        return held._channel.serial

    def is_open(self, held: Any) -> bool:
        return bool(held.is_open)

    @property
    def size(self) -> int:
        stats = self.pool.stats().channels
        return stats.leased + stats.idle if stats is not None else 0

    def figures(self) -> dict[str, Any]:
        stats = self.stats()
        counts = {name: getattr(stats, name) for name in ("granted", "timed_out", "refused", "opened")}
        used = stats.use_time.total
        return counts | {"thrown_away": stats.thrown_away, "used_seconds": used, "waits": stats.wait_time.count}

    def lifetimes(self) -> list[float]:
        assert self.pool._leases is not None
        return lifetimes_in(self.pool._leases._ledger)

    def open(self, timeout: float = PATIENCE, wait: bool = True) -> None:
        self.pool.open(wait=wait, timeout=timeout)

    def wait(self, timeout: float = PATIENCE) -> None:
        self.pool.wait(timeout)

    def stats(self) -> Any:
        return self.pool.stats().channels

    def resize(self, max_size: int) -> None:
        self.pool.resize(channels_per_connection=max_size)

    def drain(self) -> None:
        self.pool.drain()

    def use(self, fail: bool = False, timeout: float | None = PATIENCE) -> Any:
        with self.pool.channel(timeout) as channel:
            if fail:
                raise ZeroDivisionError
            return self.identity(channel)

    def close_inside(self) -> Any:
        with self.pool.channel() as channel:
            channel.release()
            channel.release()
        return channel

    def within(self, function: Callable[[], Any]) -> Any:
        with self.pool as entered:
            assert entered is self.pool
            return function()

    def close(self, timeout: float = 10.0) -> bool:
        return self.pool.close(timeout)

    def drop(self) -> None:
        del self.pool
        gc.collect()

    def leftovers(self) -> list[str]:
        gc.collect()
        new = set(threading.enumerate()) - self.threads
        return [thread.name for thread in new if thread.name.startswith("rmqpool ")]

    # The server

    def break_server(self) -> None:
        connected = self.pool.stats().lease is not None
        self.proxy.refuse()
        self.proxy.reset()
        if connected:  # what is lent before that is dead in its user's hands
            wait_for(lambda: self.server_is_missed, "the loss of the connection")

    def deafen_server(self) -> None:
        self.proxy.stall()

    def mend_server(self) -> None:
        self.proxy.heal()

    @property
    def server_is_missed(self) -> bool:
        lease = self.pool.stats().lease
        return lease is not None and lease.state is not LinkState.READY

    def end(self) -> None:
        self.proxy.heal()
        if hasattr(self, "pool"):
            self.pool.close(10.0)
            wait_for(lambda: self.leftovers() == [], "the end of its threads")
