"""Callers of the pools of things behind one face, which is that of ``channels.Channels``, too: tests say the same to all.

``Threads`` is ResourcePool, ``Loop`` is AsyncResourcePool on an event loop of its own thread. A null pool is one of them with
``keep_idle=False``: its minimum is 0, whatever a test asks for.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rmqpool import AsyncResourcePool, ResourcePool
from rmqpool.core.backoff import Backoff
from tests.integration.resources.world import PATIENCE, Thing, World, in_thread, pool_threads

__all__ = ["Loop", "Threads", "lifetimes_in"]


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
        stats = self.pool.stats()
        counts = {
            name: getattr(stats.counters, name) for name in ("granted", "timed_out", "refused", "opened", "thrown_away")
        }
        return counts | {"used_seconds": stats.use_time.total, "waits": stats.wait_time.count}

    def lifetimes(self) -> list[float]:
        """Seconds from when each was lent to its end."""
        return lifetimes_in(self.pool._ledger)

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

    def health(self) -> Any:
        return self.pool.health()

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
        gc.collect()  # another thread may have held a dropped pool, or was collecting: then this does nothing at all
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

    def health(self) -> Any:
        return self.call(self.pool.health)

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
        gc.collect()
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


def lifetimes_in(ledger: Any) -> list[float]:
    """Seconds from when each resource was lent to its end."""
    return [entry.retire_at - entry.since for entry in ledger._entries.values()]
