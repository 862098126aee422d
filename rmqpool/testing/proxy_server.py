"""The proxy's loop: it listens, owns every link, and ends with every socket closed.

Everything here runs on the loop's own thread, except the constructor.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from rmqpool.testing.faults import DIRECTIONS, ByteLimit, Cut, Direction, Network
from rmqpool.testing.proxy_counters import Counters
from rmqpool.testing.proxy_link import Link, Shared

__all__ = ["ProxyServer"]

_HOST: Final = "127.0.0.1"
_BACKLOG: Final = 128


class ProxyServer:
    """Listens on 127.0.0.1 and makes a link of each connection. The constructor binds; `serve()` runs until stopped."""

    def __init__(self, upstream: tuple[str, int], counters: Counters) -> None:
        self.network = Network()
        self.failures: list[BaseException] = []
        self._listener = _bound_socket(0)
        self._listener.listen(_BACKLOG)
        self.port: Final[int] = self._listener.getsockname()[1]
        self._refusing = False
        self._shared = Shared(upstream, self.network, counters, {way: asyncio.Event() for way in DIRECTIONS})
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._stopped = asyncio.Event()
        self._let_flow()

    async def serve(self) -> None:
        """Accept connections until `stop()`; then end every link."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._failed(context))
        loop.add_reader(self._listener, self._accept)
        try:
            await self._stopped.wait()
        finally:
            loop.remove_reader(self._listener)
            self._listener.close()
            tasks = list(self._links.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        self._stopped.set()

    def reset(self) -> int:
        """RST to both ends of all open links; return how many there were."""
        links = [link for link in self._links if not link.over]
        for link in links:
            link.reset()
        return len(links)

    def refuse(self) -> None:
        """Close the listening socket; keep its port by binding another one that does not listen."""
        if self._refusing:
            return
        self._refusing = True
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = _bound_socket(self.port)

    def blackhole(self, ways: tuple[Direction, ...]) -> None:
        self.network.black |= frozenset(ways)
        for link in self._links:
            link.blackhole(ways)
        self._let_flow()

    def stall(self, ways: tuple[Direction, ...]) -> None:
        self.network.stalled |= frozenset(ways)
        self._let_flow()

    def arm(self, fault: Cut | ByteLimit) -> None:
        if isinstance(fault, Cut):
            self.network.cuts.append(fault)
        else:
            self.network.limits.append(fault)

    def heal(self) -> None:
        """Take every fault back, deliver what was stalled, and listen again."""
        self.network.heal()
        self._let_flow()
        if self._refusing:
            self._listener.listen(_BACKLOG)
            asyncio.get_running_loop().add_reader(self._listener, self._accept)
            self._refusing = False

    def forget_after_fork(self) -> None:
        """Close this process' copies of all sockets: while a child holds one, the parent's RST never leaves."""
        self._listener.close()
        for link in list(self._links):
            link.forget_after_fork()

    def _let_flow(self) -> None:
        """Open or shut each direction's gate. What is black flows too: into the hole."""
        for direction, gate in self._shared.flowing.items():
            if direction in self.network.stalled - self.network.black:
                gate.clear()
            else:
                gate.set()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client gave up while it waited
            return
        link = Link(client, self._shared)
        task = asyncio.get_running_loop().create_task(link.run())
        self._links[link] = task
        task.add_done_callback(lambda task: self._ended(link, task))

    def _ended(self, link: Link, task: asyncio.Task[None]) -> None:
        del self._links[link]
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self.failures.append(failure)

    def _failed(self, context: dict[str, Any]) -> None:
        """An exception in a callback, which asyncio would log only."""
        self.failures.append(context.get("exception") or RuntimeError(context["message"]))


def _bound_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((_HOST, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
