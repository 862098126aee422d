"""Leases of resource pools that last: reported with who holds them, and again when they come back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import (
    AsyncResourcePool,
    ConfigurationError,
    PoolEvent,
    PoolEventKind,
    PoolTimeoutError,
    ResourcePool,
)
from tests.integration.resources.world import PATIENCE, World, in_thread, wait_for

Make = Callable[..., Any]
OVERDUE, RETURNED = PoolEventKind.LEASE_OVERDUE, PoolEventKind.LEASE_RETURNED


def told(world: World, kind: PoolEventKind) -> list[str]:
    return [event.sentence for event in list(world.events) if event.kind is kind]


def test_a_lease_that_lasts_is_reported_and_again_when_it_comes_back(
    make: Make, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, in the log and as an event, with the pool's name and the code that borrowed it; and counted."""
    pool = make(leak_after=0.05, name="database")
    with caplog.at_level(logging.WARNING, logger="rmqpool"):
        held = pool.acquire()
        wait_for(lambda: told(world, OVERDUE), "the report")
        pool.release(held)
        wait_for(lambda: told(world, RETURNED), "its end")
    assert "a resource of pool 'database' is held for more than 0.05 s (leak_after) by t" in told(world, OVERDUE)[0]
    assert "tests/integration/resources/" in told(world, OVERDUE)[0]
    assert told(world, RETURNED)[0].startswith("the resource of pool 'database' that ")
    assert "came back after" in told(world, RETURNED)[0]
    assert told(world, OVERDUE)[0] in caplog.text
    assert len(told(world, OVERDUE)) == len(told(world, RETURNED)) == 1


def test_one_that_waited_for_its_resource_is_remembered_too(make: Make, world: World) -> None:
    """Also where the pool resets what comes back."""
    pool = make(leak_after=0.05, max_size=1, reset=True)
    held = pool.acquire()
    waiting = pool.start()
    wait_for(lambda: pool.stats().waiting == 1, "the one who waits")
    pool.release(held)
    held = waiting.result(PATIENCE)
    before = len(told(world, OVERDUE))
    wait_for(lambda: len(told(world, OVERDUE)) > before or before == 2, "the report of the second lease")
    pool.release(held)
    wait_for(lambda: told(world, RETURNED), "its end")


def test_nobody_is_reported_unless_asked_for(make: Make, world: World) -> None:
    """A lease may rightly last for ever."""
    pool = make()
    pool.release(pool.acquire())
    assert pool.pool._borrowing.leak_after is None
    assert not told(world, OVERDUE)
    with pytest.raises(ConfigurationError, match="leak_after"):
        ResourcePool(object, leak_after=0)


def test_the_report_has_what_the_thread_does_now() -> None:
    """By name, with both stacks."""
    events: list[PoolEvent] = []
    busy = threading.Event()

    def forget_it() -> None:
        with pool.lease():
            busy.wait(PATIENCE)

    with ResourcePool(object, leak_after=0.05, on_event=events.append) as pool:
        thread = threading.Thread(target=forget_it, name="forgetful")
        thread.start()
        wait_for(lambda: any(event.kind is OVERDUE for event in events), "the report")
        busy.set()
        thread.join(PATIENCE)
    report = next(event.sentence for event in events if event.kind is OVERDUE)
    borrowed, _, now = report.partition("That thread is now at:")
    assert "by thread forgetful" in borrowed
    assert borrowed.rstrip().endswith("with pool.lease():")
    assert "busy.wait(PATIENCE)" in now


async def test_the_report_has_what_the_task_does_now() -> None:
    """Down to the innermost coroutine: the outermost alone says nothing."""
    events: list[PoolEvent] = []
    reported, done = asyncio.Event(), asyncio.Event()

    def hear(event: PoolEvent) -> None:
        events.append(event)
        if event.kind is OVERDUE:
            reported.set()

    async def something_slow() -> None:
        await done.wait()

    async def forget_it() -> None:
        async with pool.lease():
            await something_slow()

    async with AsyncResourcePool(object, leak_after=0.05, on_event=hear) as pool, asyncio.timeout(PATIENCE):
        task = asyncio.create_task(forget_it(), name="forgetful")
        await reported.wait()
        done.set()
        await task
    report = next(event.sentence for event in events if event.kind is OVERDUE)
    borrowed, _, now = report.partition("That task is now at:")
    assert "by task forgetful" in borrowed
    assert borrowed.rstrip().endswith("async with pool.lease():")
    assert "await something_slow()" in now
    assert "await done.wait()" in now
    assert any(event.kind is RETURNED for event in events)


def test_who_gets_nothing_is_told_who_has_it() -> None:
    """The longest lease, with where it was borrowed, when the pool remembers that."""
    with ResourcePool(object, leak_after=PATIENCE, max_size=1) as pool, pool.lease():
        failed = in_thread(lambda: pool.acquire(timeout=0.01))
        with pytest.raises(PoolTimeoutError, match=r"by thread MainThread at:\n") as caught:
            failed.result(PATIENCE)
    assert "pool.lease()" in str(caught.value)
