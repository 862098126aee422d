"""The services that tests ask for by name. Each starts when the first test asks for it, and ends with the session."""

import gc
import logging
import signal
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import psycopg
import pytest
from databases import Databases
from managed import ManagedNode, managed_node
from prepared_commands import commands  # noqa: F401 - a fixture
from reconfigured import WITHOUT_A_LINE, reconfigured
from replicated import _private_pair, replicated  # noqa: F401 - fixtures
from vhost_supply import VhostSupply, sweep

from rmqpool.outbox import Tables
from rmqpool.outbox.migrations import migrate
from rmqpool.testing.pgbouncer import PgBouncer
from rmqpool.testing.postgres import PostgresServer
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.services import named_amqp_url, named_postgres_url, private_postgres, private_rabbitmq

# A busy machine is no finding: how long an example takes says nothing of what it shows.
hypothesis.settings.register_profile("steady", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# `make check` tries a third of the examples that `make test` tries: what it overlooks is found before anything is released.
hypothesis.settings.register_profile("quick", parent=hypothesis.settings.get_profile("steady"), max_examples=33)
hypothesis.settings.load_profile("steady")

# A shell without job control lets what it runs in the background ignore Ctrl-C, which some tests press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["canary", "pytester", "run_order"]  # no test may show a password; some run pytest

# How a test's argument `broker_factory` is typed: broker_factory(config, plugins) -> a started node.
BrokerFactory = Callable[..., RabbitMQNode]


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no garbage collection needs to look at it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has logged travels to another process as UTF-8, and some log half of a surrogate pair on purpose."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """What pytest-docker's `docker_services` starts, for who asks for it where an engine answers."""
    return str(Path(__file__).parent.parent / "compose" / "compose.yaml")


@pytest.fixture(scope="session")
def broker() -> Iterator[RabbitMQNode]:
    """A node that many tests share and none may break: own vhosts or own queue names, please."""
    with private_rabbitmq() as node:
        yield node


@pytest.fixture(scope="session")
def broker_url(request: pytest.FixtureRequest) -> str:
    """The AMQP URL of a broker to use and not to break: the one that RMQPOOL_TEST_AMQP_URL names, or `broker`."""
    named = named_amqp_url()
    if named is not None:
        return named
    node: RabbitMQNode = request.getfixturevalue("broker")
    return node.amqp_url()


@pytest.fixture(scope="session")
def _finished_queues() -> list[str]:
    return []


@pytest.fixture(scope="session")
def _vhost_supply(broker: RabbitMQNode) -> VhostSupply:
    return VhostSupply(broker)


@pytest.fixture
def vhost(_vhost_supply: VhostSupply, _finished_queues: list[str]) -> Iterator[str]:
    """A vhost of the test's own on `broker`; deleted afterwards."""
    while _finished_queues:
        _vhost_supply.forget(_finished_queues.pop())
    name = _vhost_supply.take()
    yield name
    _vhost_supply.give_back(name)


@pytest.fixture
def vhost_url(broker: RabbitMQNode, vhost: str) -> str:
    """The AMQP URL of the test's own vhost."""
    return broker.amqp_url(vhost=vhost)


@pytest.fixture
def queue_name(_finished_queues: list[str]) -> Iterator[str]:
    """A queue name that no other test uses; the queues of `broker` whose names begin with it are deleted later."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    _finished_queues.append(name)


@pytest.fixture(scope="session")
def _private_broker() -> Iterator[RabbitMQNode]:
    with private_rabbitmq() as node:
        yield node


@pytest.fixture
def private_broker(_private_broker: RabbitMQNode) -> RabbitMQNode:
    """A node that the test may kill, pause, block and restart. It is healed before each test, and has no queues then."""
    _private_broker.heal()
    sweep(_private_broker)
    return _private_broker


@pytest.fixture(scope="session")
def managed() -> Iterator[ManagedNode]:
    """A node with the management API, which many tests share: own vhosts, please."""
    with managed_node() as node:
        yield node


@pytest.fixture
def managed_url(managed: ManagedNode) -> Iterator[str]:
    """The AMQP URL of a vhost of the test's own on `managed`."""
    with managed.vhost() as url:
        yield url


@pytest.fixture
def broker_factory() -> Iterator[BrokerFactory]:
    """Starts nodes with a configuration of their own: `broker_factory({"consumer_timeout": "2000"})`."""
    nodes: list[RabbitMQNode] = []

    def start(config: Mapping[str, str] | None = None, plugins: tuple[str, ...] = ()) -> RabbitMQNode:
        node = private_rabbitmq(config, plugins)
        nodes.append(node)
        node.start()
        return node

    yield start
    for node in nodes:
        node.close()


@pytest.fixture
def url_with(broker: RabbitMQNode, vhost_url: str, broker_factory: BrokerFactory) -> Iterator[Callable[..., str]]:
    """`url_with(channel_max=2)`: the URL of a broker with these lines of rabbitmq.conf, which connections and channels opened
    from now on go by: `broker` until the test ends, or a node of its own where they are read once (RabbitMQ 4)."""
    with ExitStack() as stack:

        def configured(**settings: int) -> str:
            if broker.version() < (4,):
                stack.enter_context(reconfigured(broker, **settings))
                return vhost_url
            node = broker_factory({name: str(value) for name, value in settings.items() if name not in WITHOUT_A_LINE})
            stack.enter_context(reconfigured(node, **settings))
            return node.amqp_url()

        yield configured


@pytest.fixture(scope="session")
def _private_postgres() -> Iterator[PostgresServer]:
    with private_postgres() as server:
        yield server


@pytest.fixture
def postgres(_private_postgres: PostgresServer) -> PostgresServer:
    """A Postgres that the test may stop, kill and pause. It is healed before each test; its databases stay."""
    _private_postgres.heal()
    return _private_postgres


@pytest.fixture(scope="session")
def _databases(_private_postgres: PostgresServer) -> Databases:
    return Databases(_private_postgres)


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database to use: the one that RMQPOOL_TEST_POSTGRES_URL names, or a new one in `postgres`."""
    named = named_postgres_url()
    if named is not None:
        return named
    request.getfixturevalue("postgres")
    databases: Databases = request.getfixturevalue("_databases")
    return databases.new()


@pytest.fixture
def outbox_url(request: pytest.FixtureRequest) -> str:
    """As `postgres_url`, with the outbox' tables."""
    named = named_postgres_url()
    if named is not None:
        with psycopg.connect(named) as connection:
            migrate(connection, Tables())
        return named
    request.getfixturevalue("postgres")
    databases: Databases = request.getfixturevalue("_databases")
    return databases.new(with_outbox=True)


@pytest.fixture(scope="session")
def _private_pgbouncer(_private_postgres: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(_private_postgres) as bouncer:
        yield bouncer


@pytest.fixture
def pgbouncer(postgres: PostgresServer, _private_pgbouncer: PgBouncer) -> PgBouncer:
    """A PgBouncer in transaction mode in front of `postgres`. It is started again before each test that needs it."""
    _private_pgbouncer.start()
    return _private_pgbouncer


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """Commands that run inside this process set logging up for themselves; the next test must not notice."""
    loggers = [logging.getLogger(name) for name in (None, "rmqpool", "pika")]
    before = [(logger, logger.level, logger.disabled, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, level, disabled, propagate, handlers in before:
        logger.setLevel(level)
        logger.disabled, logger.propagate = disabled, propagate
        for handler in list(logger.handlers):
            if handler not in handlers and type(handler) is logging.StreamHandler:  # pytest's own are others
                logger.removeHandler(handler)
