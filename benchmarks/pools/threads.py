"""The pools for threads, each behind the same few calls. ModuleNotFoundError where one is not installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any

from benchmarks.pools.fake import Factory

__all__ = ["POOLS", "TIMEOUT", "ThreadPool"]

TIMEOUT = 60.0  # seconds, for everybody: nobody is to give up


class ThreadPool:
    """One pool that is open and has its minimum. ``release`` takes what ``acquire`` returned."""

    acquire: Callable[[], Any]
    release: Callable[[Any], object]
    close: Callable[[], object]

    def pairs(self, count: int) -> None:
        """Acquire and release so many times, called as the pool's users call it, without a layer of ours between."""
        raise NotImplementedError


class Rmqpool(ThreadPool):
    """rmqpool.ResourcePool. ``growth`` as there: how many are opened at a time above the minimum, 0 for no limit."""

    def __init__(self, factory: Factory, minimum: int, maximum: int, growth: int = 1) -> None:
        from rmqpool import ResourcePool

        self._pool = pool = ResourcePool(
            factory.open, min_size=minimum, max_size=maximum, timeout=TIMEOUT, growth=growth
        )
        pool.open(wait=True, timeout=TIMEOUT)
        self.acquire, self.release, self.close = pool.acquire, pool.release, pool.close

    def pairs(self, count: int) -> None:
        """As above."""
        pool = self._pool
        for _ in range(count):
            resource = pool.acquire()
            pool.release(resource)


class PsycopgPool(ThreadPool):
    """psycopg_pool.ConnectionPool. The fake is its connection class, so the pool opens, resets and closes that."""

    def __init__(self, factory: Factory, minimum: int, maximum: int) -> None:
        from psycopg_pool import ConnectionPool

        made: Any = type("Connection", (), {"connect": staticmethod(factory.open)})
        self._pool: Any = ConnectionPool(
            connection_class=made, min_size=minimum, max_size=maximum, timeout=TIMEOUT, open=False
        )
        self._pool.open(wait=True, timeout=TIMEOUT)
        self.acquire, self.release, self.close = self._pool.getconn, self._pool.putconn, self._pool.close

    def pairs(self, count: int) -> None:
        """As above."""
        pool = self._pool
        for _ in range(count):
            connection = pool.getconn()
            pool.putconn(connection)


class SqlalchemyPool(ThreadPool):
    """SQLAlchemy's QueuePool, without its reset on return, which would cost it a call more.

    It has a size and an overflow that is closed again: from a cold start everything is size.
    """

    def __init__(self, factory: Factory, minimum: int, maximum: int) -> None:
        from sqlalchemy.pool import QueuePool

        size = minimum or maximum
        opener: Any = factory.open
        self._pool: Any = QueuePool(
            opener, pool_size=size, max_overflow=maximum - size, timeout=TIMEOUT, reset_on_return=None
        )
        for connection in [self._pool.connect() for _ in range(minimum)]:
            connection.close()
        self.acquire, self.release, self.close = self._pool.connect, methodcaller("close"), self._pool.dispose

    def pairs(self, count: int) -> None:
        """As above."""
        pool = self._pool
        for _ in range(count):
            connection = pool.connect()
            connection.close()


class KombuPool(ThreadPool):
    """kombu.resource.Resource, filled as kombu's own ConnectionPool is: with promises, which its callers keep."""

    def __init__(self, factory: Factory, minimum: int, maximum: int) -> None:
        from kombu.resource import Resource
        from kombu.utils import functional

        lazy: Any = functional.lazy

        class Fakes(Resource):
            def setup(self) -> None:
                while len(self._resource.queue) < self.limit:
                    self._resource.put_nowait(lazy(factory.open))

            def prepare(self, resource: Any) -> Any:
                return resource() if isinstance(resource, lazy) else resource

        made: Any = Fakes
        self._pool = made(limit=maximum)
        for fake in [self._pool.acquire(block=True) for _ in range(minimum)]:
            fake.release()
        self.acquire = partial(self._pool.acquire, block=True, timeout=TIMEOUT)
        self.release, self.close = methodcaller("release"), self._pool.force_close_all

    def pairs(self, count: int) -> None:
        """As above."""
        pool = self._pool
        for _ in range(count):
            fake = pool.acquire(block=True)
            fake.release()


POOLS: dict[str, Callable[[Factory, int, int], ThreadPool]] = {
    "rmqpool": Rmqpool,
    "rmqpool-unbounded": partial(Rmqpool, growth=0),
    "psycopg_pool": PsycopgPool,
    "sqlalchemy": SqlalchemyPool,
    "kombu": KombuPool,
}
