"""What the pool for threads promises to a caller whose signal handler raises, at whatever moment: no slot is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from rmqpool import LeaseReleasedError, ResourcePool
from tests.integration.resources.world import PATIENCE, Thing, World, wait_for
from tests.interrupts import Stop, interrupts


@pytest.mark.parametrize(
    "options",
    [{}, {"reset": True}, {"check": True, "check_after_idle": 0}],
    ids=["plain", "reset", "checked"],
)
@pytest.mark.parametrize("way", ["block", "failing block", "acquire", "discard"])
def test_an_interrupt_loses_no_slot(way: str, options: dict[str, Any]) -> None:
    """Wherever it comes in acquire or release, all resources are to be had again, and each that is not was closed."""
    world = World()
    if "check" in options:
        options = {**options, "check": world.check_blocking}
    if "reset" in options:
        options = {**options, "reset": world.reset}
    pool: ResourcePool[Thing] = ResourcePool(world.open_blocking, world.close, max_size=2, timeout=PATIENCE, **options)

    def work() -> None:
        if way == "acquire":
            thing = pool.acquire()
            try:
                pool.release(thing)
            except Stop:
                with suppress(LeaseReleasedError):  # it was not given back, or it was
                    pool.release(thing)
                raise
            return
        lease = pool.lease()
        with lease as thing:
            assert "closed" not in thing.log
            if way == "failing block":
                raise ZeroDivisionError
            if way == "discard":
                lease.discard()

    with pool:
        for where in interrupts(work):
            wait_for(lambda: settled(pool), f"the end of what began before {where}")
        both = [pool.acquire(), pool.acquire()]
        for thing in both:
            pool.release(thing)
        wait_for(
            lambda: settled(pool) and len(world.open) == pool.stats().size, "the closing of what is not in the pool"
        )


def settled(pool: ResourcePool[Thing]) -> bool:
    stats = pool.stats()
    return stats.leased == stats.tended == stats.opening == stats.waiting == 0
