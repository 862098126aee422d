"""What every pool promises of how many there are: growing, shrinking, resizing, replacing."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest

from rmqpool import AsyncResourcePool, ConfigurationError, ConnectionPool, ResourcePool
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, World, wait_for


@pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool, ConnectionPool])
def test_defaults(kind: Any) -> None:
    """Those of psycopg_pool, where both have such an option; the same in all pools."""
    parameters = inspect.signature(kind).parameters
    common = ("timeout", "max_waiting", "max_idle", "max_lifetime")
    assert [parameters[name].default for name in common] == [30.0, 0, 600.0, 3600.0]
    assert "workers" not in parameters or parameters["workers"].default == 3


@pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool])
def test_default_sizes(kind: Any) -> None:
    """Nothing is kept open that nobody has used; ten at most."""
    parameters = inspect.signature(kind).parameters
    assert (parameters["min_size"].default, parameters["max_size"].default) == (0, 10)


@pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool])
@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 0}, {"min_size": -1}, {"min_size": 3, "max_size": 2}, {"max_waiting": -1}, {"timeout": 0},
        {"order": "random"}, {"max_idle": -1}, {"growth": -1}, {"backoff": 3}, {"keep_idle": False, "min_size": 1},
        {"check_after_idle": -1}, {"max_size": True}, {"open_timeout": float("inf")},
    ],
)  # fmt: skip
def test_bad_size(kind: Any, options: dict[str, Any]) -> None:
    """Options that make no sense are refused when the pool is made, and named. For a ConnectionPool see test_pool."""
    with pytest.raises(ConfigurationError):
        kind(object, **options)


def test_grow(make_any: Make) -> None:
    """As many as are wanted at a time are opened, and no more."""
    pool = make_any(max_size=4)
    held = [pool.acquire() for _ in range(3)]
    assert len({pool.identity(one) for one in held}) == 3
    for one in held:
        pool.release(one)
    stats = pool.stats()
    assert (stats.leased, stats.idle) == (0, 3 if pool.keeps_idle else 0)


def test_grow_one_at_a_time(make_of_things: Make, world: World) -> None:
    """Above the minimum one is opened at a time, however many wait."""
    world.may_open.clear()
    pool = make_of_things(max_size=5)
    waiting = [pool.start() for _ in range(5)]
    wait_for(lambda: pool.stats().waiting == 5 and world.opening == 1, "five callers, one open")
    world.may_open.set()
    for future in waiting:
        future.result(PATIENCE)
    assert world.most_opening == 1
    for future in waiting:
        pool.release(future.result())


def test_growth_may_be_wider(make_of_things: Make, world: World) -> None:
    """``growth`` says how many are opened at a time; 0 is as many as wait."""
    world.may_open.clear()
    pool = make_of_things(max_size=5, growth=0)
    waiting = [pool.start() for _ in range(7)]
    wait_for(lambda: world.opening == 5, "five opens at a time")
    world.may_open.set()
    for future in as_completed(waiting, PATIENCE):
        pool.release(future.result())


def test_shrink(make_any: Make) -> None:
    """What is unused for max_idle is closed."""
    pool = make_any(max_size=3, max_idle=0.2)
    for one in [pool.acquire() for _ in range(3)]:
        pool.release(one)
    wait_for(lambda: pool.stats().idle == pool.size == 0, "the end of what is unused")
    pool.release(pool.acquire())


def test_shrink_to_the_minimum(make: Make, world: World) -> None:
    """The minimum is never closed for being unused."""
    pool = make(min_size=1, max_size=3, max_idle=0.1)
    for one in [pool.acquire() for _ in range(3)]:
        pool.release(one)
    wait_for(lambda: len(world.open) == 1, "the minimum")
    assert pool.stats().idle == 1


def test_resize(make_any: Make) -> None:
    """Up at once, for those who wait; down as they come back."""
    pool = make_any(max_size=1)
    held = [pool.acquire()]
    waiting = [pool.start(), pool.start()]
    wait_for(lambda: pool.stats().waiting == 2, "those who wait")
    pool.resize(max_size=3)
    held += [future.result(PATIENCE) for future in waiting]
    assert pool.stats().leased == 3
    pool.resize(max_size=1)
    for one in held:
        pool.release(one)
    stats = pool.stats()
    assert (stats.leased, stats.idle) == (0, int(pool.keeps_idle))


def test_resize_ends_the_wait_for_the_minimum(make: Make, world: World) -> None:
    """Who waits for more than is asked for now waits no longer."""
    world.failing = True
    pool = make(min_size=2)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(pool.open)
        wait_for(lambda: pool.stats().failures_in_a_row, "failed opens")
        pool.resize(min_size=0)
        waiting.result(PATIENCE / 2)


def test_resize_of_the_minimum(make: Make, world: World) -> None:
    """More are opened at once."""
    pool = make(min_size=1, max_size=4)
    pool.open()
    pool.resize(min_size=3)
    wait_for(lambda: pool.stats().idle == 3, "the new minimum")


def test_bad_resize(make_any: Make) -> None:
    """Sizes that make no sense change nothing."""
    pool = make_any(min_size=1, max_size=2)
    things = hasattr(pool, "world")
    for sizes in [
        {"max_size": 0},
        {"max_size": -1},
        *([{"min_size": 5}, {"min_size": -1}, {"max_size": 2.5}, {"max_size": "3"}] if things else []),
    ]:
        with pytest.raises(ConfigurationError):
            pool.resize(**sizes)
    held = [pool.acquire(), pool.acquire()]
    assert "2 of 2" in repr(pool.pool)
    for one in held:
        pool.release(one)
    assert not things or pool.stats().min_size == int(pool.keeps_idle)


def test_drain(make_any: Make) -> None:
    """Idle ones are replaced now, leased ones when they come back."""
    pool = make_any(max_size=2)
    held, idle = pool.acquire(), pool.acquire()
    old = {pool.identity(held), pool.identity(idle)}
    pool.release(idle)
    pool.drain()
    pool.release(held)
    new = [pool.acquire(), pool.acquire()]
    assert not old & {pool.identity(one) for one in new}
    for one in new:
        pool.release(one)


def test_max_lifetime(make_any: Make) -> None:
    """A resource ends with its time, also one that is always in use."""
    pool = make_any(max_size=1, max_lifetime=0.3)
    seen = set()

    def replaced() -> bool:
        held = pool.acquire()
        seen.add(pool.identity(held))
        pool.release(held)
        return len(seen) > 1

    wait_for(replaced, "a new one")


def test_max_lifetime_ends_a_chain(make_any: Make) -> None:
    """Also one that goes from hand to hand: who waits then gets a new one."""
    pool = make_any(max_size=1, max_lifetime=0.3)
    held = pool.acquire()
    first = pool.identity(held)

    def replaced() -> bool:
        nonlocal held
        waiting = pool.start()
        wait_for(lambda: pool.stats().waiting == 1, "the next one")
        pool.release(held)
        held = waiting.result(PATIENCE)
        return pool.identity(held) != first

    wait_for(replaced, "a new one")
    pool.release(held)


def test_jitter(make_any: Make) -> None:
    """Lifetimes end up to a tenth earlier, each by chance, so that not all resources end together."""
    pool = make_any(max_size=20, max_lifetime=1000.0)
    held = [pool.acquire() for _ in range(20)]
    lifetimes = pool.lifetimes()
    assert len(lifetimes) == 20
    assert all(890 < lifetime <= 1000 for lifetime in lifetimes)
    assert max(lifetimes) - min(lifetimes) > 5
    for one in held:
        pool.release(one)


def test_lifo(make_with_idle: Make) -> None:
    """What was used last is used again."""
    pool = make_with_idle(max_size=3)
    a, b, c = (pool.acquire() for _ in range(3))
    order = [pool.identity(one) for one in (a, c, b)]
    for one in (b, c, a):
        pool.release(one)
    again = [pool.acquire() for _ in range(3)]
    assert [pool.identity(one) for one in again] == order
    for one in again:
        pool.release(one)


def test_uniform_use(make: Make) -> None:
    """With order="fifo" all are used in turn. Channels cost nothing while they are idle, and have no such order."""
    pool = make(max_size=3, order="fifo")
    a, b, c = (pool.acquire() for _ in range(3))
    for one in (b, c, a):
        pool.release(one)
    assert [pool.acquire() for _ in range(3)] == [b, c, a]
    for one in (a, b, c):
        pool.release(one)


def test_null_pool(make_null: Make, world: World) -> None:
    """keep_idle=False bounds and pools nothing: each is closed, unless somebody waits for it."""
    pool = make_null(max_size=1)
    held = pool.acquire()
    waiting = pool.start()
    wait_for(lambda: pool.stats().waiting == 1, "the next one")
    pool.release(held)
    assert waiting.result(PATIENCE) is held
    pool.release(held)
    wait_for(lambda: world.open == [], "its end")
    assert pool.stats().size == 0
