"""What the pool for asyncio promises of its tasks: no cancellation takes anything with it, and none is left behind."""

from __future__ import annotations

import asyncio
import os
import weakref

import pytest

from rmqpool import AsyncResourcePool, Backoff, ConfigurationError
from tests.garbage import collect
from tests.integration.resources.world import PATIENCE, Thing, World


def make(world: World, **options: object) -> AsyncResourcePool[Thing]:
    functions = (world.open_async, world.close_async, world.check_async)
    return AsyncResourcePool(*functions, name="tested", **options)  # type: ignore[arg-type]


async def until(condition: object) -> None:
    """Let the others run until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0)


@pytest.mark.parametrize("keep_idle", [True, False])
async def test_cancellation_in_queue(keep_idle: bool) -> None:
    """Who is cancelled leaves the queue; the next one is served."""
    async with make(World(), max_size=1, keep_idle=keep_idle) as pool:
        held = await pool.acquire()
        cancelled, waiting = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
        await until(lambda: pool.stats().waiting == 2)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        assert pool.stats().waiting == 1
        pool.release(held)
        assert await waiting is held
        pool.release(held)


@pytest.mark.parametrize("keep_idle", [True, False])
async def test_cancellation_in_the_moment_of_the_grant(keep_idle: bool) -> None:
    """What had been granted already goes to the next in line."""
    async with make(World(), max_size=1, keep_idle=keep_idle) as pool:
        held = await pool.acquire()
        cancelled, waiting = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
        await until(lambda: pool.stats().waiting == 2)
        pool.release(held)  # granted to the first, which has not run since
        cancelled.cancel()
        assert await waiting is held
        assert cancelled.cancelled()
        assert pool.stats().counters.given_back == 1
        pool.release(held)
        assert pool.stats().idle == int(keep_idle)


async def test_all_are_cancelled() -> None:
    """Those who hold and those who wait: nothing is lost, and the next caller is served."""
    async with make(World(), max_size=3) as pool:

        async def hold() -> None:
            async with pool.lease():
                await asyncio.sleep(PATIENCE)

        tasks = [asyncio.create_task(hold()) for _ in range(9)]
        await until(lambda: (pool.stats().leased, pool.stats().waiting) == (3, 6))
        for task in reversed(tasks):
            task.cancel()
        await asyncio.wait(tasks)
        await until(lambda: pool.stats().idle == 3)  # a block that was left by an error is checked first
        assert (pool.stats().leased, pool.stats().waiting) == (0, 0)
        pool.release(await pool.acquire())


async def test_cancelled_caller_leaves_its_open_and_its_check() -> None:
    """They are the pool's: the next caller has them."""
    world = World()
    async with make(world, max_size=1, check_after_idle=0) as pool:
        for gate in (world.may_open, world.may_check):
            gate.clear()
            caller = asyncio.create_task(pool.acquire())
            await until(lambda: pool.stats().opening + pool.stats().tended == 1)
            caller.cancel()
            await asyncio.wait([caller])
            gate.set()
            await until(lambda: pool.stats().idle == 1)
        assert world.attempts == 1


async def test_close_no_tasks() -> None:
    """After close no task of the pool is left, whatever hung."""
    world = World()
    world.may_open.clear()
    pool = make(world, min_size=2)
    await pool.open(wait=False)
    await until(lambda: world.opening == 2)
    assert await pool.close(PATIENCE)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_close_without_time() -> None:
    """What can be closed without waiting is closed."""
    world = World()
    pool = make(world, min_size=2)
    await pool.open(timeout=PATIENCE)
    await pool.close(0)
    await until(lambda: world.open == [])


def test_close_on_another_loop() -> None:
    """Where the loop of its first use has ended, what is open is closed all the same."""
    world = World()
    pool = make(world, max_size=2)

    async def use() -> Thing:
        held, other = await pool.acquire(), await pool.acquire()
        pool.release(other)
        return held

    held = asyncio.run(use())

    async def end() -> None:
        assert await pool.close(PATIENCE)
        assert world.open == [held]
        pool.release(held)
        await until(lambda: world.open == [])

    asyncio.run(end())


@pytest.mark.parametrize("where", ["open", "check", "close"])
def test_ctrl_c_is_not_swallowed(where: str) -> None:
    """It may come while a task of the pool runs, and ends the loop as anywhere else; the pool goes on."""
    interrupts = [where]

    async def step(name: str) -> None:
        await asyncio.sleep(0)
        if name in interrupts:
            interrupts.remove(name)
            raise KeyboardInterrupt

    async def open_one() -> object:
        await step("open")
        return object()

    pool = AsyncResourcePool(
        open_one, lambda one: step("close"), lambda one: step("check"), check_after_idle=0, backoff=Backoff(0.001, 0.01)
    )

    async def use() -> None:
        for _ in range(2):  # the second one is checked
            pool.release(await pool.acquire())
        pool.release(await pool.acquire(), reusable=False)
        await asyncio.sleep(PATIENCE)

    async def end() -> None:
        async with pool.lease(PATIENCE):
            pass
        assert await pool.close(PATIENCE)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(use())
        runner.run(end())


async def test_functions_need_not_be_async() -> None:
    """Where nothing is to be awaited."""
    closed: list[list[int]] = []
    async with AsyncResourcePool(lambda: [1], closed.append, lambda one: None, list.clear) as pool:
        async with pool.lease() as one:
            assert one == [1]
        async with pool.lease() as one:
            assert one == []
    assert closed == [[]]


@pytest.mark.parametrize("keep_idle", [True, False])
def test_working_created_before_loop(keep_idle: bool) -> None:
    """A pool may be made where no loop runs."""
    pool = make(World(), keep_idle=keep_idle)

    async def use() -> None:
        async with pool, pool.lease() as thing:
            assert thing.number == 1

    asyncio.run(use())


def test_reconnect_after_max_lifetime() -> None:
    """Such a pool replaces what is too old, on the loop that it was opened on."""
    pool = make(World(), min_size=1, max_lifetime=0.05)
    seen = set()

    async def use() -> None:
        async with pool, asyncio.timeout(PATIENCE):
            while len(seen) < 3:
                async with pool.lease() as thing:
                    seen.add(thing.number)
                await asyncio.sleep(0.01)  # the time that passes is what is tested

    asyncio.run(use())


def test_one_loop() -> None:
    """A pool belongs to the loop of its first use, and says so; dropped without close, it says that too."""
    pools = [AsyncResourcePool(object)]

    async def first() -> None:
        pools[0].release(await pools[0].acquire())

    async def second() -> None:
        await asyncio.gather(pools[0].acquire(), pools[0].acquire())

    asyncio.run(first())
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(second())
    with pytest.warns(ResourceWarning, match="without close"):
        drop(pools)


def drop(pools: list[AsyncResourcePool[object]]) -> None:
    """Nobody holds them any more."""
    gone = [weakref.ref(pool) for pool in pools]
    pools.clear()
    collect(*gone)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_fork() -> None:
    """The child starts empty, on a loop of its own, and never closes what is the parent's."""
    world = World()
    async with make(world, max_size=2) as pool:
        held = await pool.acquire()
        child = os.fork()
        if not child:
            code = 1
            try:
                asyncio.events._set_running_loop(None)
                code = asyncio.run(use_in_child(pool, held))
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        pool.release(held)
        assert pool.stats().idle == 1


async def use_in_child(pool: AsyncResourcePool[Thing], held: Thing) -> int:
    """0 when all is as it should be."""
    pool.release(held)  # the parent's: nothing happens
    async with pool.lease(PATIENCE) as mine:
        good = mine is not held and pool.stats().size == 1
    good = await pool.close() and good
    return 0 if good and held.log == [] and mine.log == ["closed"] else 1
