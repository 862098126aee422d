"""Health over HTTP, asked over real connections."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from rmqpool.errors import ConfigurationError
from rmqpool.health import http as health_http
from rmqpool.health.http import HealthServer, parse_address
from rmqpool.health.values import Health


@pytest.fixture
def server() -> Iterator[HealthServer]:
    """On a free port."""
    listening = HealthServer("127.0.0.1", 0)
    yield listening
    listening.close()


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, Any]:
    """Status and object."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None
    finally:
        connection.close()


def test_a_worker_without_a_broker_is_alive_and_not_ready(server: HealthServer) -> None:
    """200 and 503; the object says why."""
    server.show(Health(alive=True, ready=False, state="running", text="0 of 1 ready", details={"pid": 7}))
    assert ask(server, "/live")[0] == 200
    status, told = ask(server, "/ready?verbose")
    assert status == 503
    assert told == {"alive": True, "ready": False, "state": "running", "text": "0 of 1 ready", "pid": 7}
    server.show(Health(alive=True, ready=True, state="running"))
    assert ask(server, "/ready")[0] == 200
    assert ask(server, "/ready", "HEAD") == (200, None)


def test_a_worker_that_hangs_is_neither(server: HealthServer) -> None:
    """Whatever it said of its readiness."""
    server.show(Health(alive=False, ready=True, state="running"))
    assert [ask(server, path)[0] for path in ("/live", "/ready")] == [503, 503]


def test_health_that_is_told_no_more_is_not_alive(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that tells it hangs."""
    server.show(Health(alive=True, ready=True, state="running"))
    monkeypatch.setattr(health_http, "_OLD", -1.0)
    assert ask(server, "/live")[0] == 503


def test_other_paths_are_not_there(server: HealthServer) -> None:
    """And say what is."""
    assert ask(server, "/")[0] == 404


def test_a_client_that_says_nothing_keeps_nobody(server: HealthServer) -> None:
    """Each connection has a thread of its own, and closing does not wait for it."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        assert ask(server, "/live")[0] == 200
        server.close()


def test_a_port_in_use_is_a_sentence(server: HealthServer) -> None:
    """With what to do."""
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match="in use; give another one"):
        HealthServer("127.0.0.1", port)


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("web:80", ("web", 80))]
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    """Host and port."""
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", ":8080", "::1:8080", "host:", "host:x", "host:70000"])
def test_what_is_no_address_is_a_sentence(text: str) -> None:
    """Not a traceback of the socket's."""
    with pytest.raises(ConfigurationError, match="give HOST:PORT"):
        parse_address(text)
