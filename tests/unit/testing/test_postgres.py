"""When a private Postgres is ready."""

from __future__ import annotations

import socket
import threading

import pytest

from rmqpool.testing.postgres import _takes_sessions


@pytest.mark.parametrize(
    ("answer", "takes"),
    [(b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0", True), (b"E\0\0\0\x0bC57P03\0\0", False), (b"", False)],
)
def test_a_server_is_ready_when_it_asks_who_we_are(answer: bytes, takes: bool) -> None:
    """One that starts or ends answers with an error, or hangs up."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()

        def serve() -> None:
            with listener.accept()[0] as client:
                asked.append(client.recv(1024))
                client.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        assert _takes_sessions(address, "tests", "orders") is takes
        server.join(30)
    assert asked == [b"\0\0\0\x24\0\3\0\0user\0tests\0database\0orders\0\0"]
    assert not _takes_sessions(address, "tests", "orders")
