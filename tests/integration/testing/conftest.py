"""A real TCP peer on each side of the proxy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from rmqpool.testing.proxy import FaultProxy

TIMEOUT = 5.0


class Peers:
    """Opens connections through the proxy and gives both of their ends; closes them all at the end."""

    def __init__(self, proxy: FaultProxy, listener: socket.socket, stack: ExitStack) -> None:
        self.proxy = proxy
        self._listener = listener
        self._stack = stack

    def client(self) -> socket.socket:
        """A client's end, connected to the proxy."""
        sock = socket.create_connection(("127.0.0.1", self.proxy.port), TIMEOUT)
        return self._stack.enter_context(sock)

    def server(self) -> socket.socket:
        """The upstream's end of the next connection that the proxy opens."""
        sock, _ = self._listener.accept()
        sock.settimeout(TIMEOUT)
        return self._stack.enter_context(sock)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of one connection."""
        return self.client(), self.server()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """What the proxy forwards to."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(TIMEOUT)
        yield sock


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[FaultProxy]:
    """A proxy in front of the listener."""
    with FaultProxy(listener.getsockname()) as fault_proxy:
        yield fault_proxy


@pytest.fixture
def peers(proxy: FaultProxy, listener: socket.socket) -> Iterator[Peers]:
    """Connections through the proxy."""
    with ExitStack() as stack:
        yield Peers(proxy, listener, stack)
