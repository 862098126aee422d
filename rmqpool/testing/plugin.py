"""The pytest plugin: private brokers, virtual hosts, faults and workers as fixtures. pytest loads it by its entry point.

Every fixture is named ``rmqpool_…``, so that none hides one of yours, and starts nothing until a test asks for it. This
module imports next to nothing: what a fixture needs is imported when it runs. A test that does not give back what it leased
from a pool fails. ``-p no:rmqpool`` leaves the plugin out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from rmqpool.borrowers import remember_all
from rmqpool.testing.left_leases import LeftLeases

if TYPE_CHECKING:
    from rmqpool.testing.capture import Published
    from rmqpool.testing.proxy import FaultProxy
    from rmqpool.testing.rabbitmq import RabbitMQNode
    from rmqpool.testing.worker_thread import WorkerThread

__all__: list[str] = []

_MAY_LEAVE = "rmqpool_leaves_leases"
_LEASES = pytest.StashKey[LeftLeases]()


@pytest.fixture(scope="session")
def rmqpool_broker() -> Iterator[RabbitMQNode]:
    """A RabbitMQ node of this test run's own, shared by all its tests: do not break it."""
    with _private_node() as node:
        yield node


@pytest.fixture
def rmqpool_vhost(rmqpool_broker: RabbitMQNode) -> Iterator[str]:
    """The name of a virtual host of the test's own on ``rmqpool_broker``; deleted afterwards, with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    rmqpool_broker.add_vhost(name)
    yield name
    rmqpool_broker.delete_vhost(name)


@pytest.fixture
def rmqpool_url(rmqpool_broker: RabbitMQNode, rmqpool_vhost: str) -> str:
    """The AMQP URL of the test's own virtual host. A report of a failed test shows it without its password."""
    return _url(rmqpool_broker.amqp_url(vhost=rmqpool_vhost))


@pytest.fixture
def rmqpool_published() -> Iterator[Published]:
    """What this process publishes while the test runs, with its outcomes: ``rmqpool_published.to("orders")``."""
    from rmqpool.testing.capture import Published

    with Published() as published:
        yield published


@pytest.fixture
def rmqpool_worker_thread(request: pytest.FixtureRequest) -> Iterator[Callable[..., WorkerThread]]:
    """Runs workers beside the test: ``running = rmqpool_worker_thread(worker)``; on ``rmqpool_url`` if no ``pool`` is given.

    They are stopped at the end of the test, which then fails with what a handler raised that the test has not looked at.
    """
    from rmqpool.testing.worker_thread import WorkerThread

    with ExitStack() as stack:

        def run(worker: object, **options: object) -> WorkerThread:
            if options.get("pool") is None:
                options["pool"] = request.getfixturevalue("rmqpool_url")
            return stack.enter_context(WorkerThread(worker, **options))  # type: ignore[arg-type]

        yield run


@pytest.fixture
def rmqpool_proxy(rmqpool_broker: RabbitMQNode) -> Iterator[FaultProxy]:
    """A proxy in front of ``rmqpool_broker``: cut, delay or block what passes. Its URL: ``rmqpool_proxy_url``."""
    from rmqpool.testing.proxy import FaultProxy

    with FaultProxy((rmqpool_broker.host, rmqpool_broker.port)) as proxy:
        yield proxy


@pytest.fixture
def rmqpool_proxy_url(rmqpool_broker: RabbitMQNode, rmqpool_vhost: str, rmqpool_proxy: FaultProxy) -> str:
    """The AMQP URL of the test's own virtual host, through ``rmqpool_proxy``."""
    return _url(rmqpool_broker.amqp_url(vhost=rmqpool_vhost, host="127.0.0.1", port=rmqpool_proxy.port))


@pytest.fixture(scope="session")
def _rmqpool_fragile_node() -> Iterator[RabbitMQNode]:
    with _private_node() as node:
        yield node


@pytest.fixture
def rmqpool_fragile_broker(_rmqpool_fragile_node: RabbitMQNode) -> RabbitMQNode:
    """A second node, for tests that kill, stop, pause or block it; healed before each of them. Its queues stay."""
    _rmqpool_fragile_node.heal()
    return _rmqpool_fragile_node


@pytest.fixture
def rmqpool_broker_factory() -> Iterator[Callable[..., RabbitMQNode]]:
    """Starts nodes with lines of rabbitmq.conf: ``rmqpool_broker_factory({"consumer_timeout": "2000"}, plugins=(…))``."""
    with ExitStack() as stack:

        def start(config: Mapping[str, str] | None = None, plugins: tuple[str, ...] = ()) -> RabbitMQNode:
            return stack.enter_context(_private_node(config, plugins))

        yield start


def _url(url: str) -> str:
    from rmqpool.testing.passwords import ShownUrl

    return ShownUrl(url)


def _private_node(config: Mapping[str, str] | None = None, plugins: tuple[str, ...] = ()) -> RabbitMQNode:
    from rmqpool.testing.services import private_rabbitmq

    return private_rabbitmq(config, plugins)


def pytest_configure(config: pytest.Config) -> None:
    """One marker; and pools of resources remember who borrows, as those of channels always do."""
    remember_all()
    config.addinivalue_line("markers", f"{_MAY_LEAVE}: the test may end with leases that it did not give back")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """What is leased from here on is the test's to give back."""
    if item.get_closest_marker(_MAY_LEAVE) is None:
        item.stash[_LEASES] = LeftLeases()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """A test that leaves a lease fails, unless it has failed already."""
    yield
    leases = item.stash.get(_LEASES, None)
    told = "" if leases is None else leases.told()
    if told:
        pytest.fail(told, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what was published, and what became of it."""
    report = yield
    if report.failed and _LEASES in item.stash:
        del item.stash[_LEASES]
    published = getattr(item, "funcargs", {}).get("rmqpool_published")
    if report.failed and published is not None and call.when == "call":
        report.sections.append(("rmqpool: published", str(published)))
    return report
