"""What the tests of the ready-to-run workers share: a virtual host, an HTTP endpoint, workers that are stopped."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from rmqpool import ConnectionPool, Delivery, Publisher, Worker
from rmqpool.testing.waiting import wait_until


class Bench:
    """A pool and a publisher on one URL, and what is asked of its queues."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = ConnectionPool(url)
        self.publisher = Publisher(self.pool)
        self._workers: list[Worker] = []

    def start(self, worker: Worker) -> Worker:
        """Run a worker until the test ends."""
        self._workers.append(worker)
        return worker.start(pool=self.url)

    def take(self, queue: str, timeout: float = 10.0) -> Delivery:
        """The next message of a queue, acknowledged."""

        def get() -> Delivery | None:
            with self.pool.channel() as channel:
                return channel.basic_get(queue, auto_ack=True)

        found = wait_until(get, f"a message in {queue}", timeout=timeout)
        assert found is not None
        return found

    def take_all(self, queue: str) -> list[Delivery]:
        """All messages that are ready, acknowledged."""
        found = []
        with self.pool.channel() as channel:
            while (delivery := channel.basic_get(queue, auto_ack=True)) is not None:
                found.append(delivery)
        return found

    def count(self, queue: str) -> int:
        """Messages ready in a queue."""
        with self.pool.channel() as channel:
            return channel.queue_declare(queue, passive=True).message_count

    def close(self) -> None:
        """Stop everything."""
        for worker in self._workers:
            worker.stop(0.0)
        self.pool.close()


@pytest.fixture
def bench(vhost_url: str) -> Iterator[Bench]:
    """On the test's own virtual host."""
    made = Bench(vhost_url)
    yield made
    made.close()


@dataclass
class Request:
    """One that the endpoint got; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]


@dataclass
class HttpEndpoint:
    """An HTTP server on loopback. ``answer`` gives status and headers for a request; it may raise to close without one."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], tuple[int, dict[str, str]]] = lambda request: (204, {})

    @property
    def url(self) -> str:
        """Its address, with a token in its path."""
        return f"http://127.0.0.1:{self.port}/hooks/token"

    def wait(self, count: int, timeout: float = 15.0) -> None:
        """Until it got so many requests."""
        wait_until(lambda: len(self.requests) >= count, f"{count} requests", timeout=timeout)


@pytest.fixture
def http_endpoint() -> Iterator[HttpEndpoint]:
    """Answers 204 unless the test says otherwise."""
    endpoint = HttpEndpoint()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, body, self.client_address)
            endpoint.requests.append(request)
            try:
                status, more = endpoint.answer(request)
            except ConnectionError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"content-length": "0", **more}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is no error of the test."""

    with Server(("127.0.0.1", 0), Handler) as server:
        endpoint.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield endpoint
        server.shutdown()
        thread.join(5)
