"""What users write with the pools of resources: what ``open`` makes is what they borrow. `make check` has mypy read it."""

from typing import assert_type

from rmqpool import AsyncResourcePool, ResourcePool


class Socket:
    """Anything that can be opened."""

    def __init__(self, port: int = 80) -> None:
        self.port = port

    def close(self) -> None: ...


async def connect() -> Socket:
    """As the clients of asyncio do."""
    return Socket()


def from_a_class() -> None:
    """The class itself opens, its method closes."""
    pool = ResourcePool(Socket, Socket.close, check=lambda socket: socket.port > 0)
    assert_type(pool, ResourcePool[Socket])
    assert_type(pool.acquire(), Socket)
    with pool as entered, entered.lease() as socket:
        assert_type(socket, Socket)
    pool.release(3)  # type: ignore[arg-type]


def from_a_function() -> None:
    """With arguments of its own, which the pool need not know."""
    pool = ResourcePool(lambda: Socket(port=8080), max_size=2)
    with pool.lease(timeout=1) as socket:
        assert_type(socket, Socket)


async def from_a_coroutine() -> None:
    """What it returns is what is lent, not the awaitable."""
    pool: AsyncResourcePool[Socket] = AsyncResourcePool(connect, Socket.close)
    async with pool as entered, entered.lease() as socket:
        assert_type(socket, Socket)
    assert_type(await pool.acquire(), Socket)


async def from_a_coroutine_without_a_word() -> None:
    """The same without an annotation."""
    pool = AsyncResourcePool(connect)
    assert_type(pool, AsyncResourcePool[Socket])
