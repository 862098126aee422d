"""The figures of a pool of resources for whoever asks on another thread, as those do that collect metrics."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from rmqpool.resources.async_pool import AsyncResourcePool
from rmqpool.resources.pool import ResourcePool
from rmqpool.resources.values import ResourceStats

__all__ = ["read_stats"]

_PATIENCE = 1.0  # seconds for a loop that is busy


def read_stats(pool: ResourcePool[Any] | AsyncResourcePool[Any]) -> ResourceStats | None:
    """What ``stats()`` says, asked on the loop of the pool, if it has one; None when the loop does not answer within 1 s."""
    if isinstance(pool, ResourcePool):
        return pool.stats()
    loop = pool.loop
    if loop is None or not loop.is_running() or asyncio._get_running_loop() is loop:
        return pool.stats()
    answer: Future[ResourceStats] = Future()

    def ask() -> None:
        if answer.set_running_or_notify_cancel():
            answer.set_result(pool.stats())

    try:
        loop.call_soon_threadsafe(ask)
    except RuntimeError:  # it was closed in this moment
        return pool.stats()
    try:
        return answer.result(_PATIENCE)
    except FutureTimeoutError:
        answer.cancel()
        return None
