"""Row 37 of the fault matrix: a password is never shown. `tests/canary.py` searches every test of the suite for one."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.harness import Events, open_pool
from rmqpool import ConnectionPool, Consumer, Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.errors import AuthenticationError, ConfigurationError, RmqpoolError, UnroutableError
from rmqpool.settings import ConnectionSettings, Secret
from rmqpool.testing.passwords import MARK
from rmqpool.testing.rabbitmq_node import RabbitMQNode
from rmqpool.urls import parse_url

LEAKY_TESTS = """
import logging, subprocess, sys, warnings
import pytest
from rmqpool.errors import NotSentError
from rmqpool.testing.passwords import MARK

def test_log(): logging.getLogger("any").error("connecting with %s", MARK + "1")
def test_log_traceback():
    try: raise ValueError(MARK)
    except ValueError: logging.getLogger("any").exception("failed")
def test_output(): print("amqp://user:" + MARK + "2@host")
def test_expected_error():
    with pytest.raises(NotSentError): raise NotSentError("not sent to amqp://user:" + MARK)
def test_process(): subprocess.run([sys.executable, "-c", f"print('{MARK}')"], capture_output=True)
def test_innocent(): print("amqp://user:**********@host")
"""


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """The text of every record of every logger, from DEBUG on, with tracebacks."""
    texts: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(self.format(record))

    handler, root = Keep(logging.DEBUG), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield texts
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def settings(broker: RabbitMQNode, vhost: str) -> ConnectionSettings:
    """How to reach the broker, with the marked password."""
    return parse_url(broker.amqp_url(vhost=vhost))


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    """Each way to leak fails its test, and a mask does not: otherwise the whole search would prove nothing."""
    (tmp_path / "test_leaks.py").write_text(LEAKY_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "canary", "-p", "no:randomly", "-p", "no:cacheprovider"]
    shown = ["-q", "--tb=no", "--show-capture=no", "-rA", "--rootdir", str(tmp_path), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(
        command + shown, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    failed = {line.split("::")[1].split(" ")[0] for line in ended.stdout.splitlines() if line.startswith("FAILED")}
    assert failed == {"test_log", "test_log_traceback", "test_output", "test_expected_error", "test_process"}, (
        ended.stdout
    )
    assert "1 passed" in ended.stdout


def test_every_service_has_the_marked_password(broker: RabbitMQNode) -> None:
    """The passwords that the suite uses are those that are searched for."""
    assert broker.password.startswith(MARK)
    assert MARK in broker.amqp_url()


def test_no_log_shows_a_password_at_any_level(
    broker: RabbitMQNode, settings: ConnectionSettings, queue_name: str, everything_logged: list[str]
) -> None:
    """Connecting, publishing, consuming, a disconnect, a wrong password and a closed port, with everything at DEBUG."""
    events = Events()
    with open_pool(settings, on_event=events) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        publisher.publish(queue_name, b"x")
        with Consumer(pool, queue_name, lambda delivery: delivery.ack()) as consumer:
            consumer.wait_ready()
        with pytest.raises(UnroutableError):
            publisher.publish(f"{queue_name}-missing", b"x")
        for row in broker.list_connections():
            if row["vhost"] == settings.vhost:
                broker.close_connection(row["name"])
        events.wait_for(LinkEvent.CONNECTION_LOST, count=3)
        pool.wait(10.0)
    _fail_to_connect(settings)
    assert any("pika" in text or "Socket" in text for text in everything_logged), "pika was not logging"
    assert any("was lost" in text for text in everything_logged)
    assert [text for text in everything_logged if MARK in text] == []


def _fail_to_connect(settings: ConnectionSettings) -> RmqpoolError:
    wrong = dataclasses.replace(settings, password=Secret(f"{MARK}wrong"))
    with open_pool(wrong) as pool, pytest.raises(AuthenticationError) as caught:
        pool.open()
    return caught.value


def test_no_error_shows_a_password_even_with_its_locals(settings: ConnectionSettings) -> None:
    """A traceback with every frame's variables, as error trackers take it, shows a mask; so does the chain of causes."""
    error = _fail_to_connect(settings)
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "AuthenticationError" in told
    assert "settings = " in told, "the locals were captured"
    assert MARK not in told


@pytest.mark.parametrize(
    "url",
    [
        f"amqp://user:{MARK}@host:port/",
        f"amqp://user:{MARK}@/v/host",
        f"amqp://user:{MARK}@host/%zz",
        f"amqp://user:{MARK}@host/?{MARK}=1",
        f"amqp://user:{MARK}@host/?heartbeat={MARK}",
        f"amqp://{MARK}:{MARK}:{MARK}@host",
        f"http://user:{MARK}@host/",
        f"amqp://user:{MARK}/@host/",
        f"{MARK}",
    ],
)
def test_no_error_of_a_wrong_url_shows_a_password(url: str) -> None:
    """Wherever a URL is wrong, and wherever the password stands in it, the error does not repeat it."""
    with pytest.raises(ConfigurationError) as caught:
        ConnectionPool(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert MARK not in f"{error!s} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_no_repr_shows_a_password(broker: RabbitMQNode, settings: ConnectionSettings, queue_name: str) -> None:
    """repr, str and format of all that a user holds in hand, and what the broker tells of our connections."""
    with open_pool(settings) as pool:
        publisher = Publisher(pool, declare=[Queue(queue_name)])
        future = publisher.submit(queue_name, b"x")
        confirmation = future.result()
        with Consumer(pool, queue_name, lambda delivery: delivery.ack()) as consumer, pool.channel() as channel:
            consumer.wait_ready()
            held = [
                settings, settings.password, dataclasses.asdict(settings), settings.redacted_url(), pool, pool.stats(),
                pool.stats().publish[0], publisher, future, confirmation, consumer, consumer.status(), channel,
            ]  # fmt: skip
            shown = "\n".join(f"{thing!r} {thing!s} {thing}" for thing in held)
            known_to_the_broker = repr(broker.list_connections())
    assert "**********" in shown
    assert MARK not in shown
    assert "rmqpool" in known_to_the_broker
    assert MARK not in known_to_the_broker
