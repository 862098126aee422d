"""Pools of anything that can be opened, checked, reset and closed, for threads and for asyncio."""

from rmqpool.resources.async_pool import AsyncResourcePool
from rmqpool.resources.pool import ResourcePool
from rmqpool.resources.values import Counters, ResourceStats

__all__ = [
    "AsyncResourcePool",
    "Counters",
    "ResourcePool",
    "ResourceStats",
]
