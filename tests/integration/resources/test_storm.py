"""Ten thousand acquires, cancelled and timed out at random: every slot is accounted for at the end."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rmqpool import AsyncResourcePool, ConnectionPool, PoolTimeoutError, ResourcePool, ResourceStats
from rmqpool.core.backoff import Backoff
from rmqpool.pool_stats import ChannelStats
from tests.integration.resources.world import PATIENCE, World, wait_for

ACQUIRES = 10_000
SIZE = 5


def accounted_for(stats: ResourceStats, world: World, calls: int) -> None:
    """Each call ended in one way, each resource is idle or closed, and the whole pool can be lent again."""
    counters = stats.counters
    ended = counters.granted + counters.timed_out + counters.cancelled + counters.refused
    assert (stats.leased, stats.waiting, stats.tended) == (0, 0, 0)
    assert counters.requests == ended == calls
    assert counters.opened == counters.thrown_away + stats.size
    assert stats.wait_time.count == stats.use_time.count == counters.granted - counters.given_back
    assert len(world.things) == counters.opened
    assert stats.size <= SIZE


async def test_cancel_storm_of_tasks() -> None:
    """Tasks that are cancelled at any await, or time out, or use their resource, or break it."""
    world, chance = World(), random.Random(7)
    broken = 0

    async def open_one() -> object:
        await asyncio.sleep(chance.random() * 0.002)
        world.begin_open()
        world.failing = chance.random() < 0.1
        return world.end_open()

    async def check(thing: object) -> bool:
        await asyncio.sleep(0)
        return chance.random() > 0.02

    async def reset(thing: object) -> None:
        await asyncio.sleep(0)

    pool: AsyncResourcePool[object] = AsyncResourcePool(
        open_one, world.close_async, check, reset, max_size=SIZE, check_after_idle=0, growth=0,  # type: ignore[arg-type]
        backoff=Backoff(0.001, 0.002), timeout=PATIENCE,
    )  # fmt: skip

    async def caller(timeout: float) -> None:
        nonlocal broken
        try:
            async with pool.lease(timeout) as thing:
                assert thing in world.open
                await asyncio.sleep(0)
                if chance.random() < 0.02:
                    raise ZeroDivisionError
        except (PoolTimeoutError, ZeroDivisionError):
            broken += 1

    left, running = ACQUIRES, set[asyncio.Task[None]]()
    while left or running:
        while left and len(running) < 200:
            left -= 1
            task = asyncio.create_task(caller(chance.choice([0.0, 0.001, 0.005, PATIENCE])))
            running.add(task)
            task.add_done_callback(running.discard)
        for task in chance.sample(list(running), len(running) // 8):
            task.cancel()
        await asyncio.sleep(chance.choice([0, 0, 0.001]))
    held = await asyncio.gather(*(pool.acquire() for _ in range(SIZE)))
    assert len(set(map(id, held))) == SIZE
    for thing in held:
        pool.release(thing)
    while pool.stats().tended or pool.stats().opening:
        await asyncio.sleep(0.001)
    stats = pool.stats()
    never_began = ACQUIRES + SIZE - stats.counters.requests  # cancelled before their first step
    assert 0 <= never_began < ACQUIRES / 2
    accounted_for(stats, world, ACQUIRES + SIZE - never_began)
    assert stats.counters.cancelled > 100
    assert stats.counters.timed_out > 100
    assert await pool.close()
    assert world.open == []


def test_cancel_storm_of_threads() -> None:
    """Threads that time out at random, while resources break, fail their checks, and fail to open."""
    world = World()
    chance = random.Random(7)
    lock = threading.Lock()
    outcomes: list[str] = []

    def open_one() -> object:
        world.begin_open()
        world.failing = chance.random() < 0.1
        return world.end_open()

    pool: ResourcePool[object] = ResourcePool(
        open_one, world.close, lambda thing: chance.random() > 0.02, max_size=SIZE, growth=0,  # type: ignore[arg-type]
        check_after_idle=0.001, max_lifetime=0.5, max_idle=0.1, backoff=Backoff(0.001, 0.002), timeout=PATIENCE,
    )  # fmt: skip

    def call(number: int) -> None:
        timeout = chance.choice([0.0, 0.0005, 0.002, PATIENCE])
        try:
            thing = pool.acquire(timeout)
        except PoolTimeoutError:
            outcome = "timed out"
        else:
            with lock:
                assert thing in world.open
            pool.release(thing, reusable=chance.random() > 0.02)
            outcome = "used"
        outcomes.append(outcome)

    with ThreadPoolExecutor(32) as threads:
        for future in [threads.submit(call, number) for number in range(ACQUIRES)]:
            future.result(PATIENCE)
    held = [pool.acquire() for _ in range(SIZE)]
    assert len(set(map(id, held))) == SIZE
    for thing in held:
        pool.release(thing)
    wait_for(lambda: pool.stats().tended + pool.stats().opening == 0, "quiet")
    accounted_for(pool.stats(), world, ACQUIRES + SIZE)
    assert pool.stats().counters.timed_out == outcomes.count("timed out") > 100
    assert outcomes.count("used") > 100
    assert pool.close()
    assert world.open == []


def test_cancel_storm_of_channels(vhost_url: str) -> None:
    """Threads that time out at random, while channels are thrown away, sizes change and everything is drained."""
    chance = random.Random(7)
    outcomes: list[str] = []

    def call(number: int) -> None:
        timeout = chance.choice([0.0001, 0.0005, 0.002, PATIENCE])
        try:
            channel = pool.channel(timeout)
        except PoolTimeoutError:
            outcomes.append("timed out")
        else:
            assert channel.is_open
            if chance.random() < 0.02:
                channel.basic_qos(prefetch_count=3)  # an unclean channel is never used again
            channel.release()
            outcomes.append("used")
        if number % 2_000 == 1_000:
            pool.drain()
        if number % 1_000 == 500:
            pool.resize(channels_per_connection=chance.randint(1, SIZE))

    with ConnectionPool(vhost_url, channels_per_connection=SIZE, max_lifetime=0.5, max_idle=0.1) as pool:
        with ThreadPoolExecutor(32) as threads:
            for future in [threads.submit(call, number) for number in range(ACQUIRES)]:
                future.result(PATIENCE)
        pool.resize(channels_per_connection=SIZE)
        held = [pool.channel(PATIENCE) for _ in range(SIZE)]
        assert len({id(channel) for channel in held}) == SIZE
        with pytest.raises(PoolTimeoutError):
            pool.channel(0.01)
        for channel in held:
            channel.release()

        def stats() -> ChannelStats:
            channels = pool.stats().channels
            assert channels is not None
            return channels

        wait_for(lambda: stats().opening == 0, "quiet")
        channels = stats()
        assert (channels.leased, channels.waiting) == (0, 0)
        assert channels.granted + channels.timed_out + channels.refused == ACQUIRES + SIZE + 1
        assert channels.granted == outcomes.count("used") + SIZE
        assert channels.timed_out == outcomes.count("timed out") + 1 > 100
        assert channels.opened == channels.thrown_away + channels.idle
        assert outcomes.count("used") > 100
