"""A circuit breaker around the opens of a pool: nobody waits for an open while it is open, and it finds the server again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rmqpool import (
    AsyncResourcePool,
    Backoff,
    Breaker,
    BreakerPolicy,
    BreakerState,
    CircuitOpenError,
    ConfigurationError,
    ResourcePool,
)
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, World, elapsed, wait_for

LONG = 2 * PATIENCE


def server_guard(pause: float = 0.05) -> Breaker:
    """One that opens after three failures in a row."""
    policy = BreakerPolicy(minimum=3, failure_rate=1, pause=Backoff(pause, pause), patience=LONG)
    return Breaker("the server", policy=policy)


def refused_at_once(call: Callable[[], object]) -> CircuitOpenError:
    """What the call is told, long before its deadline."""
    told: list[CircuitOpenError] = []

    def refused() -> None:
        with pytest.raises(CircuitOpenError) as caught:
            call()
        told.append(caught.value)

    assert elapsed(refused) < LONG / 2
    return told[0]


def test_callers_do_not_wait_for_opens_while_it_is_open(make_of_things: Make, world: World) -> None:
    """Who waits when it opens, and who comes later, is told at once; one resource that is there is lent as ever."""
    guard = server_guard(pause=LONG)
    pool = make_of_things(max_size=2, breaker=guard)
    held = pool.acquire()
    world.failing = True
    error = refused_at_once(lambda: pool.acquire(LONG))
    assert guard.state is BreakerState.OPEN
    assert isinstance(error.__cause__, ConnectionRefusedError)
    assert error.name == "the server"
    assert error.retry_after > 1
    attempts = world.attempts
    assert attempts == 1 + 3
    refused_at_once(lambda: pool.acquire(LONG))
    assert world.attempts == attempts  # the server is not asked
    pool.release(held)
    if pool.keeps_idle:
        pool.release(pool.acquire(LONG))
    assert guard.stats().refused >= 2


def test_a_full_pool_is_waited_for(make_of_things: Make, world: World) -> None:
    """Who waits for what others hold needs no open."""
    guard = server_guard(pause=LONG)
    pool = make_of_things(max_size=1, breaker=guard)
    held = pool.acquire()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError), guard:
            raise ConnectionRefusedError
    assert guard.state is BreakerState.OPEN
    waiting = pool.start(LONG)
    wait_for(lambda: pool.stats().waiting == 1, "the caller")
    pool.release(held)
    pool.release(waiting.result(PATIENCE))


def test_opens_are_the_probes_and_the_first_that_succeeds_closes_it(make_of_things: Make, world: World) -> None:
    """Whoever comes after the pause has the probe's resource; without anybody the minimum does it."""
    guard = server_guard()
    pool = make_of_things(min_size=1, max_size=2, breaker=guard)
    world.failing = True
    refused_at_once(lambda: pool.acquire(LONG))
    world.failing = False
    if pool.keeps_idle:
        wait_for(lambda: guard.state is BreakerState.CLOSED, "the minimum")

    wait_for(lambda: _tries(pool), "a probe that succeeds")
    assert guard.state is BreakerState.CLOSED


def test_who_waits_for_the_minimum_is_told(make: Make, world: World) -> None:
    """Open and wait do not wait for their timeout either, and the pool goes on."""
    world.failing = True
    pool = make(min_size=2, breaker=server_guard())
    refused_at_once(lambda: pool.open(LONG))
    world.failing = False
    wait_for(lambda: len(world.open) == 2, "the minimum")
    pool.wait()


def test_an_open_that_takes_too_long_counts(make_of_things: Make, world: World) -> None:
    """Opens that hang are failures after open_timeout, and do not leave the breaker half-open for ever."""
    guard = server_guard()
    world.may_open.clear()
    pool = make_of_things(max_size=9, breaker=guard, open_timeout=0.05)
    error = refused_at_once(lambda: pool.acquire(LONG))
    assert isinstance(error.__cause__, TimeoutError)
    assert guard.stats().failed >= 3
    world.may_open.set()


def test_what_it_calls_may_look_at_the_pool(make: Make, world: World) -> None:
    """on_change runs outside of the pool's lock."""
    seen: list[BreakerState] = []

    def look(state: BreakerState, _: str) -> None:
        pool.pool.stats()
        seen.append(state)

    policy = BreakerPolicy(minimum=1, pause=Backoff(0.01, 0.01))
    pool = make(max_size=1, breaker=Breaker("the server", policy=policy, on_change=look))
    world.failing = True
    refused_at_once(lambda: pool.acquire(LONG))
    world.failing = False
    wait_for(lambda: _tries(pool) and seen[-1] is BreakerState.CLOSED, "a probe that succeeds")
    assert set(seen) == {BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED}


def _tries(pool: object) -> bool:
    try:
        pool.release(pool.acquire(LONG))  # type: ignore[attr-defined]
    except CircuitOpenError:
        return False
    return True


@pytest.mark.parametrize("kind", [ResourcePool, AsyncResourcePool])
def test_what_is_no_breaker_is_refused(kind: Callable[..., object]) -> None:
    """A policy in the place of a breaker is told at once."""
    with pytest.raises(ConfigurationError, match=r"give Breaker\('the broker'\)"):
        kind(object, breaker=BreakerPolicy())
