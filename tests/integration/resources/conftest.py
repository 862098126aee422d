"""A pool of each kind, for tests that say the same to all of them.

The names of the tests are those of psycopg_pool's suite; docs/explanation/pool-promises.md lists them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.integration.resources.channels import Channels
from tests.integration.resources.pools import Loop, Threads
from tests.integration.resources.world import World

Make = Callable[..., Any]
"""``make(max_size=2, reset=True)``: a pool with these options. All are closed at the end of the test."""

THINGS = ["threads", "asyncio"]
NULL = ["null-threads", "null-asyncio"]


@pytest.fixture
def world() -> World:
    return World()


def _pools(request: pytest.FixtureRequest, world: World) -> Iterator[Make]:
    pools: list[Any] = []
    with ExitStack() as proxies:

        def one(**options: Any) -> Any:
            if request.param == "channels":
                broker: RabbitMQNode = request.getfixturevalue("broker")
                vhost: str = request.getfixturevalue("vhost")
                proxy = proxies.enter_context(FaultProxy((broker.host, broker.port)))
                url = broker.amqp_url(vhost=vhost, host="127.0.0.1", port=proxy.port)
                pools.append(Channels(proxy, url, **options))
            else:
                null = {"keep_idle": False} if request.param in NULL else {}
                kind = Threads if request.param.endswith("threads") else Loop
                pools.append(kind(world, **null, **options))
            return pools[-1]

        yield one
        for pool in pools:
            pool.end()


make = pytest.fixture(params=THINGS, name="make")(_pools)
make_null = pytest.fixture(params=NULL, name="make_null")(_pools)
make_of_things = pytest.fixture(params=[*THINGS, *NULL], name="make_of_things")(_pools)
make_with_idle = pytest.fixture(params=[*THINGS, "channels"], name="make_with_idle")(_pools)
make_for_threads = pytest.fixture(params=["threads", "null-threads", "channels"], name="make_for_threads")(_pools)
make_any = pytest.fixture(params=[*THINGS, *NULL, "channels"], name="make_any")(_pools)
