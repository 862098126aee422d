"""A small world of resources that a test can break, and callers of three kinds of pool behind one face.

``Threads`` is ResourcePool, ``Loop`` is AsyncResourcePool on an event loop of its own thread, ``Channels`` is the channels of
a ConnectionPool. The tests say the same to each.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rmqpool import AsyncResourcePool, ConnectionPool, ResourceEvent, ResourcePool
from rmqpool.core.backoff import Backoff
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0  # seconds that a busy machine may take


class Thing:
    """What is pooled. ``dead`` makes its check fail; ``log`` is what happened to it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.dead = False
        self.log: list[str] = []

    def __repr__(self) -> str:
        return f"<Thing {self.number} {self.log}>"


class World:
    """Opens things, and remembers them. Gates are open until a test closes them (``clear``)."""

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self.failing = False
        self.reset_failing = False
        self.attempts = 0
        self.opening = self.most_opening = 0
        self.may_open = threading.Event()
        self.may_check = threading.Event()
        self.may_open.set()
        self.may_check.set()
        self.lock = threading.Lock()
        self.events: list[ResourceEvent] = []

    @property
    def open(self) -> list[Thing]:
        """Those that were opened, and not closed."""
        return [thing for thing in list(self.things) if "closed" not in thing.log]

    def begin_open(self) -> None:
        with self.lock:
            self.attempts += 1
            self.opening += 1
            self.most_opening = max(self.most_opening, self.opening)

    def end_open(self) -> Thing:
        with self.lock:
            self.opening -= 1
            if self.failing:
                raise ConnectionRefusedError("refused")
            thing = Thing(len(self.things) + 1)
            self.things.append(thing)
            return thing

    def close(self, thing: Thing) -> None:
        thing.log.append("closed")

    def check(self, thing: Thing) -> bool:
        thing.log.append("checked")
        return not thing.dead

    def reset(self, thing: Thing) -> None:
        thing.log.append("reset")
        if self.reset_failing:
            raise RuntimeError("cannot be reset")

    def release_all(self) -> None:
        self.may_open.set()
        self.may_check.set()

    # The same for threads and for asyncio, as a thread waits and a coroutine waits.

    def open_blocking(self) -> Thing:
        self.begin_open()
        self.may_open.wait(PATIENCE)
        return self.end_open()

    def check_blocking(self, thing: Thing) -> bool:
        self.may_check.wait(PATIENCE)
        return self.check(thing)

    async def open_async(self) -> Thing:
        self.begin_open()
        try:
            while not self.may_open.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.opening -= 1
            raise
        return self.end_open()

    async def check_async(self, thing: Thing) -> bool:
        while not self.may_check.is_set():
            await asyncio.sleep(0.005)
        return self.check(thing)

    async def reset_async(self, thing: Thing) -> None:
        self.reset(thing)

    async def close_async(self, thing: Thing) -> None:
        self.close(thing)


def in_thread(function: Callable[[], Any]) -> Future[Any]:
    """Its result, or its error, comes in the future."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def options(world: World, given: dict[str, Any]) -> dict[str, Any]:
    """What the tests leave out: soon tried again, so that no test waits for a backoff."""
    return {
        "backoff": Backoff(0.01, 0.05),
        "timeout": PATIENCE,
        "on_event": world.events.append,
        "name": "tested",
        **given,
    }


class Threads:
    """ResourcePool, as it is."""

    def __init__(self, world: World, **given: Any) -> None:
        checks = given.pop("check", True)
        resets = given.pop("reset", False)
        self.world = world
        self.pool: ResourcePool[Thing] = ResourcePool(
            world.open_blocking,
            world.close,
            world.check_blocking if checks else None,
            world.reset if resets else None,
            **options(world, given),
        )

    def acquire(self, timeout: float = PATIENCE) -> Thing:
        return self.pool.acquire(timeout)

    def start(self, timeout: float = PATIENCE) -> Future[Any]:
        return in_thread(lambda: self.pool.acquire(timeout))

    def release(self, held: Thing, reusable: bool = True) -> None:
        self.pool.release(held, reusable)

    def identity(self, held: Thing) -> object:
        return held.number

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

    def use(self, fail: bool = False, timeout: float = PATIENCE) -> int:
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

    def close(self, timeout: float = 10.0) -> bool:
        return self.pool.close(timeout)

    def end(self) -> None:
        self.world.release_all()
        self.pool.close(10.0)


class Loop:
    """AsyncResourcePool, called from the test's thread."""

    def __init__(self, world: World, **given: Any) -> None:
        checks = given.pop("check", True)
        resets = given.pop("reset", False)
        given.pop("workers", None)
        self.world = world
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="test-loop", daemon=True)
        self.thread.start()
        self.pool: AsyncResourcePool[Thing] = AsyncResourcePool(
            world.open_async,
            world.close_async,
            world.check_async if checks else None,
            world.reset_async if resets else None,
            **options(world, given),
        )

    def call(self, function: Callable[[], Any]) -> Any:
        """On the loop; a coroutine is awaited."""

        async def run() -> Any:
            answer = function()
            return await answer if asyncio.iscoroutine(answer) else answer

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(2 * PATIENCE)

    def acquire(self, timeout: float = PATIENCE) -> Any:
        return self.call(lambda: self.pool.acquire(timeout))

    def start(self, timeout: float = PATIENCE) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(self.pool.acquire(timeout), self.loop)

    def release(self, held: Thing, reusable: bool = True) -> None:
        self.call(lambda: self.pool.release(held, reusable))

    def identity(self, held: Thing) -> object:
        return held.number

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

    def use(self, fail: bool = False, timeout: float = PATIENCE) -> Any:
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

    def close(self, timeout: float = 10.0) -> bool:
        return bool(self.call(lambda: self.pool.close(timeout)))

    def end(self) -> None:
        self.world.release_all()
        self.close(10.0)
        left = self.call(lambda: [task for task in asyncio.all_tasks(self.loop) if task is not asyncio.current_task()])
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()
        assert left == [], "tasks were left"


class Channels:
    """The leased channels of a ConnectionPool: what is pooled is opened by the broker, and checked by nobody."""

    def __init__(self, url: str, **given: Any) -> None:
        names = {"max_size": "channels_per_connection"}
        known = {names.get(name, name): value for name, value in given.items() if name not in ("check", "growth")}
        self.pool = ConnectionPool(url, **known)

    def acquire(self, timeout: float = PATIENCE) -> Any:
        return self.pool.channel(timeout)

    def start(self, timeout: float = PATIENCE) -> Future[Any]:
        return in_thread(lambda: self.pool.channel(timeout))

    def release(self, held: Any, reusable: bool = True) -> None:
        if not reusable:
            held.basic_qos(prefetch_count=3)  # an unclean channel is never used again
        held.release()

    def identity(self, held: Any) -> object:
        return held._channel.serial

    def stats(self) -> Any:
        return self.pool.stats().channels

    def resize(self, max_size: int) -> None:
        self.pool.resize(channels_per_connection=max_size)

    def drain(self) -> None:
        self.pool.drain()

    def close(self, timeout: float = 10.0) -> bool:
        return self.pool.close(timeout)

    def use(self, fail: bool = False, timeout: float = PATIENCE) -> Any:
        with self.pool.channel(timeout) as channel:
            if fail:
                raise ZeroDivisionError
            return self.identity(channel)

    def end(self) -> None:
        self.pool.close(10.0)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """As wait_until, as patient as all here."""
    wait_until(condition, what, timeout=PATIENCE, interval=0.005)


def pool_threads() -> list[str]:
    """The threads of resource pools that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tested-")]


def elapsed(function: Callable[[], object]) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    function()
    return time.monotonic() - began
