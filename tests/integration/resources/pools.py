"""Callers of each kind of pool behind one face, so that the tests say the same to all.

``Threads`` is ResourcePool, ``Loop`` is AsyncResourcePool on an event loop of its own thread, ``Channels`` is the channels of
a ConnectionPool. A null pool is one of the first two with ``keep_idle=False``: its minimum is 0, whatever a test asks for.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rmqpool import AsyncResourcePool, ConnectionPool, ResourcePool
from rmqpool.amqp.link import LinkState
from rmqpool.core.backoff import Backoff
from rmqpool.testing.proxy import FaultProxy
from tests.integration.resources.world import PATIENCE, Thing, World, in_thread, pool_threads, wait_for

__all__ = ["Channels", "Loop", "Threads"]


class Things:
    """What the pools of things have in common."""

    pool: Any

    def __init__(self, world: World, given: dict[str, Any]) -> None:
        self.world = world
        self.keeps_idle: bool = given.get("keep_idle", True)
        self.checks: bool = given.pop("check", True)
        self.resets: bool = given.pop("reset", False)
        if not self.keeps_idle:
            given.pop("min_size", None)
        # What the tests leave out; soon tried again, so that no test waits for a backoff.
        self.options = {
            "backoff": Backoff(0.01, 0.05),
            "timeout": PATIENCE,
            "on_event": world.events.append,
            "name": "tested",
            **given,
        }

    def identity(self, held: Thing) -> object:
        return held.number

    def is_open(self, held: Thing) -> bool:
        """Its user may use it."""
        return "closed" not in held.log

    @property
    def size(self) -> int:
        """How many are open."""
        return len(self.world.open)

    def figures(self) -> dict[str, Any]:
        """The counts that all pools have, by the same names."""
        counters, waits = self.pool.stats().counters, self.pool.stats().waits
        names = ("granted", "timed_out", "refused", "opened", "discarded", "used_seconds")
        return {name: getattr(counters, name) for name in names} | {"waits": waits.count}

    def lifetimes(self) -> list[float]:
        """Seconds from now to the end of each that is open."""
        return _lifetimes(self.pool._ledger)

    # The server

    def break_server(self) -> None:
        """What is open is dead, and nothing can be opened."""
        self.world.kill()

    def deafen_server(self) -> None:
        """It takes calls, and does not answer."""
        self.world.may_open.clear()

    def mend_server(self) -> None:
        self.world.failing = False
        self.world.may_open.set()

    @property
    def server_is_missed(self) -> bool:
        """The pool has noticed that it cannot open."""
        return bool(self.pool.stats().failures_in_a_row)


class Threads(Things):
    """ResourcePool, as it is."""

    warns_when_dropped = True

    def __init__(self, world: World, **given: Any) -> None:
        super().__init__(world, given)
        self.pool: ResourcePool[Thing] = ResourcePool(
            world.open_blocking,
            world.close,
            world.check_blocking if self.checks else None,
            world.reset if self.resets else None,
            **self.options,
        )

    def acquire(self, timeout: float = PATIENCE) -> Thing:
        return self.pool.acquire(timeout)

    def start(self, timeout: float | None = PATIENCE) -> Future[Any]:
        return in_thread(lambda: self.pool.acquire(timeout))

    def release(self, held: Thing, reusable: bool = True) -> None:
        self.pool.release(held, reusable)

    def open(self, timeout: float = PATIENCE, wait: bool = True) -> None:
        self.pool.open(wait=wait, timeout=timeout)

    def wait(self, timeout: float = PATIENCE) -> None:
        self.pool.wait(timeout)

    def check(self) -> int:
        return self.pool.check()

    def stats(self) -> Any:
        return self.pool.stats()

    def pop_stats(self) -> Any:
        return self.pool.pop_stats()

    def resize(self, max_size: int | None = None, min_size: int | None = None) -> None:
        self.pool.resize(min_size=min_size, max_size=max_size)

    def drain(self) -> None:
        self.pool.drain()

    def use(self, fail: bool = False, timeout: float | None = PATIENCE) -> int:
        """A with block, which raises if asked for."""
        with self.pool.lease(timeout) as thing:
            if fail:
                raise ZeroDivisionError
            return thing.number

    def close_inside(self) -> Thing:
        """A block that gives back early, twice."""
        lease = self.pool.lease()
        with lease as thing:
            lease.close()
            lease.close()
        return thing

    def discard_inside(self) -> Thing:
        lease = self.pool.lease()
        with lease as thing:
            lease.discard()
        return thing

    def within(self, function: Callable[[], Any]) -> Any:
        """In the block of the pool itself."""
        with self.pool as entered:
            assert entered is self.pool
            return function()

    def close(self, timeout: float = 10.0) -> bool:
        return self.pool.close(timeout)

    def drop(self) -> None:
        """Nobody holds it any more."""
        del self.pool
        gc.collect()

    def leftovers(self) -> list[str]:
        """What of the pool still runs."""
        gc.collect()  # a thread that was about to do something for a dropped pool may have held it
        return pool_threads()

    def end(self) -> None:
        self.world.release_all()
        if hasattr(self, "pool"):
            self.pool.close(10.0)


class Loop(Things):
    """AsyncResourcePool, made before its loop runs anything, and called from the test's thread."""

    def __init__(self, world: World, **given: Any) -> None:
        given.pop("workers", None)
        super().__init__(world, given)
        self.warns_when_dropped = self.keeps_idle  # it has no threads: what is not open needs no close
        self.loop = asyncio.new_event_loop()
        self.pool: AsyncResourcePool[Thing] = AsyncResourcePool(
            world.open_async,
            world.close_async,
            world.check_async if self.checks else None,
            world.reset_async if self.resets else None,
            **self.options,
        )
        self.thread = threading.Thread(target=self.loop.run_forever, name="test-loop", daemon=True)
        self.thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        """On the loop; a coroutine is awaited."""

        async def run() -> Any:
            answer = function()
            return await answer if asyncio.iscoroutine(answer) else answer

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(2 * PATIENCE)

    def acquire(self, timeout: float = PATIENCE) -> Any:
        return self.call(lambda: self.pool.acquire(timeout))

    def start(self, timeout: float | None = PATIENCE) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(self.pool.acquire(timeout), self.loop)

    def release(self, held: Thing, reusable: bool = True) -> None:
        self.call(lambda: self.pool.release(held, reusable))

    def open(self, timeout: float = PATIENCE, wait: bool = True) -> None:
        self.call(lambda: self.pool.open(wait=wait, timeout=timeout))

    def wait(self, timeout: float = PATIENCE) -> None:
        self.call(lambda: self.pool.wait(timeout))

    def check(self) -> Any:
        return self.call(self.pool.check)

    def stats(self) -> Any:
        return self.call(self.pool.stats)

    def pop_stats(self) -> Any:
        return self.call(self.pool.pop_stats)

    def resize(self, max_size: int | None = None, min_size: int | None = None) -> None:
        self.call(lambda: self.pool.resize(min_size=min_size, max_size=max_size))

    def drain(self) -> None:
        self.call(self.pool.drain)

    def use(self, fail: bool = False, timeout: float | None = PATIENCE) -> Any:
        """A with block, which raises if asked for."""

        async def block() -> int:
            async with self.pool.lease(timeout) as thing:
                if fail:
                    raise ZeroDivisionError
                return thing.number

        return self.call(block)

    def close_inside(self) -> Any:
        """A block that gives back early, twice."""

        async def block() -> Thing:
            lease = self.pool.lease()
            async with lease as thing:
                lease.close()
                lease.close()
            return thing

        return self.call(block)

    def discard_inside(self) -> Any:
        async def block() -> Thing:
            lease = self.pool.lease()
            async with lease as thing:
                lease.discard()
            return thing

        return self.call(block)

    def within(self, function: Callable[[], Any]) -> Any:
        """In the block of the pool itself."""

        async def block() -> Any:
            async with self.pool as entered:
                assert entered is self.pool
                return await asyncio.to_thread(function)

        return self.call(block)

    def close(self, timeout: float = 10.0) -> bool:
        return bool(self.call(lambda: self.pool.close(timeout)))

    def drop(self) -> None:
        """Nobody holds it any more."""
        self.call(gc.collect)  # nor does a task that has just ended
        del self.pool
        gc.collect()

    def leftovers(self) -> list[str]:
        """What of the pool still runs: tasks of the loop."""
        return self.call(
            lambda: [str(task) for task in asyncio.all_tasks(self.loop) if task is not asyncio.current_task()]
        )

    def end(self) -> None:
        self.world.release_all()
        if hasattr(self, "pool"):
            self.close(10.0)
        left = self.leftovers()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()
        assert left == [], "tasks were left"


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
        return counts | {"discarded": stats.thrown_away, "used_seconds": used, "waits": stats.wait_time.count}

    def lifetimes(self) -> list[float]:
        assert self.pool._leases is not None
        return _lifetimes(self.pool._leases._ledger)

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


def _lifetimes(ledger: Any) -> list[float]:
    return [entry.retire_at - entry.since for entry in ledger._entries.values()]
