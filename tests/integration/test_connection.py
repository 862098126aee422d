"""What a connection promises: it names itself, fails at once when that helps, comes back otherwise, and always closes."""

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rmqpool import (
    AuthenticationError,
    ConnectionFailedError,
    ConnectionPool,
    NotSentError,
    PoolClosedError,
    PoolEventKind,
    PoolTimeoutError,
    Publisher,
    Queue,
    VirtualHostAccessError,
    VirtualHostNotFoundError,
    __version__,
)
from rmqpool.amqp.link import LinkState
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]
Connections = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts TCP connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_broker_lists_our_name_product_and_version(pool: ConnectionPool, connections: Connections) -> None:
    """So that an operator knows whose connection it is."""
    pool.open()
    (row,) = wait_until(connections, "the connection in the broker's list", timeout=5)
    properties = row["client_properties"]
    assert properties["product"] == "rmqpool"
    assert properties["version"] == __version__
    assert properties["connection_name"].startswith(f"rmqpool@{socket.gethostname()}:")


def test_a_name_of_ones_own_is_shown(make_pool: MakePool, connections: Connections) -> None:
    """With the connection's role."""
    make_pool(name="billing").open()
    (row,) = wait_until(connections, "the connection in the broker's list", timeout=5)
    assert row["user_provided_name"].startswith("billing:publish-")


def test_a_wrong_password_fails_at_once(make_pool: MakePool, broker: RabbitMQNode, vhost: str) -> None:
    """Long before the timeout, and with one attempt only."""
    pool = make_pool(broker.amqp_url(password="wrong", vhost=vhost))
    began = time.monotonic()
    with pytest.raises(AuthenticationError, match="wrong user name or password") as caught:
        pool.open(timeout=30)
    assert time.monotonic() - began < 5
    assert "wrong" not in str(caught.value).replace("wrong user name", "")
    assert [status.attempts for status in pool.stats().publish] == [1]
    assert [status.state for status in pool.stats().publish] == [LinkState.REFUSED]


def test_a_missing_virtual_host_fails_at_once(make_pool: MakePool, broker: RabbitMQNode) -> None:
    """With the command that creates it."""
    with pytest.raises(VirtualHostNotFoundError, match=r"'no-such-vhost' does not exist.*add_vhost"):
        make_pool(broker.amqp_url(vhost="no-such-vhost")).open(timeout=30)


def test_a_user_without_permission_fails_at_once(make_pool: MakePool, broker: RabbitMQNode, vhost: str) -> None:
    """With the command that grants it."""
    broker.add_user("stranger", "pw", vhosts=())
    try:
        with pytest.raises(VirtualHostAccessError, match=r"'stranger' has no permission.*set_permissions"):
            make_pool(broker.amqp_url(user="stranger", password="pw", vhost=vhost)).open(timeout=30)
    finally:
        broker.delete_user("stranger")


def test_a_refused_pool_fails_publishes_and_leases_at_once(
    make_pool: MakePool, broker: RabbitMQNode, vhost: str
) -> None:
    """Nobody waits for a timeout when waiting cannot help."""
    pool = make_pool(broker.amqp_url(password="wrong", vhost=vhost))
    began = time.monotonic()
    for publisher in (Publisher(pool), Publisher(pool, declare=[Queue("orders")])):
        with pytest.raises(NotSentError, match="wrong user name or password") as caught:
            publisher.publish("orders", b"x", timeout=30)
        assert isinstance(caught.value.__cause__, AuthenticationError)
    with pytest.raises(AuthenticationError):
        pool.channel(timeout=30)
    assert time.monotonic() - began < 8


def test_each_caller_gets_a_refusal_of_its_own(make_pool: MakePool, broker: RabbitMQNode, vhost: str) -> None:
    """One error for all would keep the frames of every caller alive, and grow for as long as the password is wrong."""
    pool = make_pool(broker.amqp_url(password="wrong", vhost=vhost))
    for ask in (pool.open, pool.channel):
        errors: list[AuthenticationError] = []
        for _ in range(3):
            with pytest.raises(AuthenticationError) as caught:
                ask(timeout=30)
            errors.append(caught.value)
        assert len({id(error) for error in errors}) == 3
        assert len({len(traceback.extract_tb(error.__traceback__)) for error in errors[1:]}) == 1
        assert {(str(error), error.stage, error.host) for error in errors} == {
            (str(errors[0]), errors[0].stage, errors[0].host)
        }


def test_a_refusal_ends_when_somebody_corrects_it(make_pool: MakePool, broker: RabbitMQNode, vhost: str) -> None:
    """The pool goes on trying, far apart."""
    broker.add_user("late", "old", vhosts=(vhost,))
    pool = make_pool(broker.amqp_url(user="late", password="new", vhost=vhost) + "?refused_delay=1")
    try:
        with pytest.raises(AuthenticationError):
            pool.open()
        broker.change_password("late", "new")
        wait_until(lambda: pool.stats().publish[0].state is LinkState.READY, "the connection", timeout=5)
    finally:
        pool.close()
        broker.delete_user("late")


def test_a_closed_port_is_named_when_the_timeout_passes(make_pool: MakePool) -> None:
    """The last error is the cause."""
    port = ReservedPort()
    pool = make_pool(f"amqp://127.0.0.1:{port.number}/")
    with pytest.raises(PoolTimeoutError, match="is RabbitMQ running") as caught:
        pool.open(timeout=0.3)
    port.release()
    assert isinstance(caught.value.__cause__, ConnectionFailedError)
    assert caught.value.__cause__.stage == "tcp"


def test_a_peer_that_says_nothing_costs_one_stages_timeout(make_pool: MakePool, silent_port: int) -> None:
    """Each stage has its own: here the AMQP handshake."""
    pool = make_pool(f"amqp://127.0.0.1:{silent_port}/?amqp_timeout=0.2")
    with pytest.raises(PoolTimeoutError) as caught:
        pool.open(timeout=1.5)
    assert isinstance(caught.value.__cause__, ConnectionFailedError)
    assert caught.value.__cause__.stage == "amqp"


def test_the_next_host_is_tried_when_one_is_down(make_pool: MakePool, broker: RabbitMQNode, vhost: str) -> None:
    """Whichever comes first."""
    good = broker.amqp_url(vhost=vhost).replace("@", "@127.0.0.1:1,", 1)
    for _ in range(3):
        pool = make_pool(good)
        pool.open(timeout=5)
        assert pool.stats().publish[0].address == f"127.0.0.1:{broker.port}"
        pool.close()


def test_a_connection_that_was_closed_comes_back(make_pool: MakePool, broker: RabbitMQNode) -> None:
    """And its listeners are told."""
    events: list[PoolEventKind] = []
    pool = make_pool(name="coming-back", on_event=lambda event: events.append(event.kind))
    pool.open()
    broker.close_connection(pool.stats().publish[0].name)
    wait_until(lambda: pool.stats().publish[0].epoch == 2, "the second connection", timeout=5)
    assert pool.stats().reconnects == 1
    assert events[:3] == ["connected", "connection_lost", "connected"]


def test_a_listener_that_fails_harms_nothing(make_pool: MakePool) -> None:
    """Its error is contained."""

    def fail(*_: object) -> None:
        raise RuntimeError("oops")

    pool = make_pool(on_event=fail)
    pool.open()
    assert pool.stats().publish[0].state is LinkState.READY


def test_an_error_inside_the_io_thread_replaces_the_connection(pool: ConnectionPool, queue_name: str) -> None:
    """Nobody knows what it left half-done; users only see a publish that takes a moment longer."""
    publisher = Publisher(pool, declare=[Queue(queue_name)])
    publisher.publish(queue_name, b"before")

    def fail() -> None:
        raise RuntimeError("a bug in here")

    pool._publish.links[0].post(fail)
    wait_until(lambda: pool.stats().publish[0].epoch == 2, "the next connection", timeout=5)
    assert publisher.publish(queue_name, b"after", timeout=5).attempts == 1


def test_closing_while_connecting_returns_in_time(make_pool: MakePool, silent_port: int) -> None:
    """And whoever waits is told."""
    pool = make_pool(f"amqp://127.0.0.1:{silent_port}/")
    pool.open(wait=False)
    caught: list[Exception] = []

    def wait() -> None:
        try:
            pool.wait(timeout=30)
        except PoolClosedError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    began = time.monotonic()
    assert pool.close(timeout=2)
    assert time.monotonic() - began < 2
    thread.join(5)
    assert len(caught) == 1
