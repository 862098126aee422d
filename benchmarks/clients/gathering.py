"""What the asyncio clients have in common: uvloop for all of them, and ``gather`` of so many publishes at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from benchmarks.clients.clock import Clock
from benchmarks.job import Job

__all__ = ["gather_all", "on_uvloop"]


def on_uvloop(main: Coroutine[Any, Any, int | None]) -> int | None:
    """Run ``main`` on a loop of uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def gather_all(job: Job, clock: Clock, publish_one: Callable[[], Awaitable[object]]) -> None:
    """Publish a first message, then ``job.count`` with ``job.window`` of them awaited at a time, under the clock."""
    await publish_one()
    with clock:
        left = job.count
        while left:
            batch = min(job.window, left)
            await asyncio.gather(*(publish_one() for _ in range(batch)))
            left -= batch
