"""Health over HTTP: ``/live`` and ``/ready`` answer 200 or 503, with a JSON object. On a thread of its own.

It answers from what it was shown last. If that is old, the thread that shows it hangs, and so the worker is not alive.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rmqpool.errors import ConfigurationError
from rmqpool.health.values import Health

__all__ = ["HealthServer", "parse_address"]

_OLD = 10.0  # seconds
_REQUEST_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 2.0
_TURN = 0.2


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT``. Pure. Raises ConfigurationError."""
    host, separator, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not separator or not bare or (":" in bare) != (bare != host) or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"{text!r} is no address for health checks: give HOST:PORT, such as 127.0.0.1:8080")
    return bare, int(port)


class HealthServer:
    """Listens on ``host`` and ``port`` (0: a free one, see :attr:`url`). Raises ConfigurationError if it cannot."""

    def __init__(self, host: str, port: int) -> None:
        self._shown: tuple[Health, float] = (Health(alive=True, ready=False, state="starting"), time.monotonic())
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _server_class(family)((host, port), self._handler_class())
        except OSError as error:
            why = error.strerror or str(error)
            raise ConfigurationError(f"health checks cannot listen on {host}:{port}: {why}; give another one") from None
        shown_host = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown_host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_TURN,), name="rmqpool health", daemon=True
        )
        self._thread.start()

    def show(self, health: Health) -> None:
        """Thread-safe."""
        self._shown = (health, time.monotonic())

    def answer(self, path: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """Status and body for a path. Thread-safe."""
        health, shown_at = self._shown
        age = time.monotonic() - shown_at
        alive = health.alive and age <= _OLD
        told = {**health.as_json(), "alive": alive, "ready": health.ready and alive}
        if path not in ("/live", "/ready"):
            return HTTPStatus.NOT_FOUND, {"error": "there is /live and /ready"}
        good = alive if path == "/live" else told["ready"]
        return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, told

    def close(self) -> None:
        """Answer no more. Idempotent."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_CLOSE_TIMEOUT)
        self._server.server_close()

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_TIMEOUT
            server_version = "rmqpool"
            sys_version = ""

            def do_GET(self) -> None:
                status, told = answer(self.path.partition("?")[0])
                body = json.dumps(told).encode() + b"\n"
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come all the time: not told."""

        return Handler


def _server_class(family: int) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = socket.AddressFamily(family)
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A probe that hung up."""

    return Server
