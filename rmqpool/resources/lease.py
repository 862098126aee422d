"""What a caller holds in its hands: leases for a block."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rmqpool.errors import ConfigurationError
from rmqpool.resources.base import Slot

if TYPE_CHECKING:
    from rmqpool.resources.async_pool import AsyncResourcePool
    from rmqpool.resources.pool import ResourcePool

__all__ = ["AsyncLease", "Lease"]

T = TypeVar("T")


class Lease(Generic[T]):
    """``with pool.lease() as resource``: acquires when the block begins, releases when it ends. For one thread, once.

    A block that ends with an exception has its resource checked before anybody else gets it, if the pool has a check.
    """

    __slots__ = ("_pool", "_slot", "_timeout", "_token")

    def __init__(self, pool: ResourcePool[T], timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._slot: Slot[T] | None = None
        self._token: Any = None

    def __enter__(self) -> T:
        if self._slot is not None:
            raise ConfigurationError("a lease is for one with block at a time: call pool.lease() for each")
        slot = self._slot = self._pool._lend(self._timeout)
        self._token = slot.token
        return slot.resource

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pool._take_back(slot, self._token, True, error is not None)

    def close(self) -> None:
        """Give the resource back now, before the block ends; it stays open in the pool. Safe to call again."""
        self.__exit__(None, None, None)

    def discard(self) -> None:
        """Give the resource back now, and have it closed: it is broken. Safe to call again."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pool._take_back(slot, self._token, False, False)


class AsyncLease(Generic[T]):
    """``async with pool.lease() as resource``, as :class:`Lease`. Giving back awaits nothing."""

    __slots__ = ("_pool", "_slot", "_timeout", "_token")

    def __init__(self, pool: AsyncResourcePool[T], timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._slot: Slot[T] | None = None
        self._token: Any = None

    async def __aenter__(self) -> T:
        if self._slot is not None:
            raise ConfigurationError("a lease is for one block at a time: call pool.lease() for each")
        slot = self._slot = await self._pool._lend(self._timeout)
        self._token = slot.token
        return slot.resource

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back(True, error is not None)

    def close(self) -> None:
        """Give the resource back now, before the block ends; it stays open in the pool. Safe to call again."""
        self._give_back(True, False)

    def discard(self) -> None:
        """Give the resource back now, and have it closed: it is broken. Safe to call again."""
        self._give_back(False, False)

    def _give_back(self, reusable: bool, suspect: bool) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pool._take_back(slot, self._token, reusable, suspect)
