"""The pools for asyncio, each behind the same few calls. ModuleNotFoundError where one is not installed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from benchmarks.pools.fake import AsyncFake, Factory
from benchmarks.pools.threads import TIMEOUT

__all__ = ["POOLS", "TaskPool"]


class TaskPool:
    """One pool. ``release`` takes what ``acquire`` returned."""

    async def open(self) -> None:
        """Until its minimum is there."""
        raise NotImplementedError

    async def use(self, work: Callable[[], Awaitable[object]], got: Callable[[], object]) -> None:
        """Acquire, call ``got``, await ``work``, release."""
        raise NotImplementedError

    async def pairs(self, count: int) -> None:
        """Acquire and release so many times, called as the pool's users call it, without a layer of ours between."""
        raise NotImplementedError

    async def close(self) -> None:
        """Its tasks have ended then."""
        raise NotImplementedError


class Rmqpool(TaskPool):
    """rmqpool.AsyncResourcePool. ``growth`` as there."""

    def __init__(self, factory: Factory, minimum: int, maximum: int, growth: int = 1) -> None:
        from rmqpool import AsyncResourcePool

        self._pool: AsyncResourcePool[AsyncFake] = AsyncResourcePool(
            factory.open_async, min_size=minimum, max_size=maximum, timeout=TIMEOUT, growth=growth
        )

    async def open(self) -> None:
        """As above."""
        await self._pool.open(wait=True, timeout=TIMEOUT)

    async def use(self, work: Callable[[], Awaitable[object]], got: Callable[[], object]) -> None:
        """As above."""
        resource = await self._pool.acquire()
        got()
        await work()
        self._pool.release(resource)

    async def pairs(self, count: int) -> None:
        """As above."""
        pool = self._pool
        for _ in range(count):
            resource = await pool.acquire()
            pool.release(resource)

    async def close(self) -> None:
        """As above."""
        await self._pool.close()


class PsycopgPool(TaskPool):
    """psycopg_pool.AsyncConnectionPool. The fake is its connection class."""

    def __init__(self, factory: Factory, minimum: int, maximum: int) -> None:
        from psycopg_pool import AsyncConnectionPool

        made: Any = type("Connection", (), {"connect": staticmethod(factory.open_async)})
        self._pool: Any = AsyncConnectionPool(
            connection_class=made, min_size=minimum, max_size=maximum, timeout=TIMEOUT, open=False
        )

    async def open(self) -> None:
        """As above."""
        await self._pool.open(wait=True, timeout=TIMEOUT)

    async def use(self, work: Callable[[], Awaitable[object]], got: Callable[[], object]) -> None:
        """As above."""
        connection = await self._pool.getconn()
        got()
        await work()
        await self._pool.putconn(connection)

    async def pairs(self, count: int) -> None:
        """As above."""
        pool = self._pool
        for _ in range(count):
            connection = await pool.getconn()
            await pool.putconn(connection)

    async def close(self) -> None:
        """As above."""
        await self._pool.close()


class AioPikaPool(TaskPool):
    """aio_pika.pool.Pool, which has a maximum and no minimum: it is filled before."""

    def __init__(self, factory: Factory, minimum: int, maximum: int) -> None:
        from aio_pika.pool import Pool

        opener: Any = factory.open_async

        self._minimum = minimum
        self._make = partial(Pool, opener, max_size=maximum)  # it asks for its loop when it is made

    async def open(self) -> None:
        """As above."""
        self._pool: Any = self._make()
        leases = [self._pool.acquire() for _ in range(self._minimum)]
        for lease in leases:
            await lease.__aenter__()
        for lease in leases:
            await lease.__aexit__(None, None, None)

    async def use(self, work: Callable[[], Awaitable[object]], got: Callable[[], object]) -> None:
        """As above."""
        async with self._pool.acquire():
            got()
            await work()

    async def pairs(self, count: int) -> None:
        """As above."""
        pool = self._pool
        for _ in range(count):
            async with pool.acquire():
                pass

    async def close(self) -> None:
        """As above."""
        await self._pool.close()


POOLS: dict[str, Callable[[Factory, int, int], TaskPool]] = {
    "rmqpool": Rmqpool,
    "rmqpool-unbounded": partial(Rmqpool, growth=0),
    "psycopg_pool": PsycopgPool,
    "aio_pika": AioPikaPool,
}
