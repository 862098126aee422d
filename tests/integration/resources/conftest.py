"""A pool of each kind, for tests that say the same to all of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.resources.world import Channels, Loop, Threads, World

Make = Callable[..., Any]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=["threads", "asyncio"])
def make(request: pytest.FixtureRequest, world: World) -> Iterator[Make]:
    """Makes resource pools of one kind: ``make(max_size=2, reset=True)``. All are closed at the end."""
    pools: list[Any] = []

    def one(**options: Any) -> Any:
        pools.append((Threads if request.param == "threads" else Loop)(world, **options))
        return pools[-1]

    yield one
    for pool in pools:
        pool.end()


@pytest.fixture(params=["threads", "asyncio", "channels"])
def make_any(request: pytest.FixtureRequest, world: World) -> Iterator[Make]:
    """As ``make``, and the channels of a ConnectionPool too, which know fewer options."""
    pools: list[Any] = []

    def one(**options: Any) -> Any:
        if request.param == "channels":
            pools.append(Channels(request.getfixturevalue("vhost_url"), **options))
        else:
            pools.append((Threads if request.param == "threads" else Loop)(world, **options))
        return pools[-1]

    yield one
    for pool in pools:
        pool.end()
