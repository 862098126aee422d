"""A TCP proxy between a client and a broker that makes the faults a test asks for, and understands AMQP frames.

It runs on a thread of its own; each method may be called from any thread and returns when its fault is in force.
Frames are seen in plain AMQP only: over TLS the byte and connection faults work, `cut` and `answer_frames` never fire.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from rmqpool.testing.amqp_frames import check_kind
from rmqpool.testing.faults import ByteLimit, Cut, Direction, Fault, How, When, directions
from rmqpool.testing.proxy_counters import Counters
from rmqpool.testing.proxy_server import ProxyServer

__all__ = ["FaultProxy"]

_T = TypeVar("_T")
_CALL_TIMEOUT: Final = 5.0  # seconds
_alive: weakref.WeakSet[FaultProxy] = weakref.WeakSet()


class FaultProxy:
    """Listens on 127.0.0.1 at a free port and forwards to `upstream`, a host and a port (IPv4).

    Starts at once; a context manager. Faults add up until `heal()` takes all of them back. A connection that was in a
    black hole stays dead after it, because its bytes are lost; a stalled one goes on, because they are not.
    A client whose upstream cannot be reached is accepted and then reset. Thread-safe.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._counters = Counters()
        self._server = ProxyServer(upstream, self._counters)
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"fault-proxy-{self.port}", daemon=True)
        self._thread.start()
        _alive.add(self)

    # -- where it is and what went through it

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; the same for the proxy's whole life."""
        return self._server.port

    @property
    def url_host_port(self) -> str:
        """`127.0.0.1:<port>`, to be put into a URL."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Client connections that are open now."""
        return self._counters.open

    @property
    def accepted(self) -> int:
        """Client connections accepted so far."""
        return self._counters.accepted

    def frames(self, kind: str, direction: Direction | None = None, *, swallowed: bool = False) -> int:
        """How many frames of `kind` (`basic.ack`, `header`, `body`, `heartbeat`, `any`) were passed on so far.

        A frame to which a peer has reacted is counted: this asks the loop, which counts right after it writes.
        swallowed: count those that a black hole or a cut took instead. No direction means both.
        """
        ways = directions(direction)
        with self._lock:
            if not self._closed:
                self._run_on_loop(lambda: None)
        return self._counters.frames(check_kind(kind), ways, swallowed=swallowed)

    def wait_for_connections(self, count: int, timeout: float) -> None:
        """Wait until exactly `count` client connections are open; TimeoutError after `timeout` seconds."""
        self._counters.wait_for(
            lambda: self.connections == count, timeout, lambda: f"{self.connections} connections open, not {count}"
        )

    def wait_for_accepted(self, count: int, timeout: float) -> None:
        """Wait until `count` connections or more were accepted in all; TimeoutError after `timeout` seconds."""
        self._counters.wait_for(
            lambda: self.accepted >= count, timeout, lambda: f"{self.accepted} connections accepted, not {count}"
        )

    def wait_for_frames(
        self, kind: str, count: int, timeout: float, direction: Direction | None = None, *, swallowed: bool = False
    ) -> None:
        """Wait until `frames(...)` is `count` or more; TimeoutError after `timeout` seconds."""
        check_kind(kind)
        ways = directions(direction)

        def seen() -> int:
            return self._counters.frames(kind, ways, swallowed=swallowed)

        self._counters.wait_for(
            lambda: seen() >= count, timeout, lambda: f"{seen()} frames of the kind {kind}, not {count}"
        )

    # -- faults of the network

    def reset(self) -> int:
        """Send RST to both ends of every open connection; return how many there were."""
        return self._call(self._server.reset)

    def reset_after(self, count: int, direction: Direction) -> Fault:
        """Reset the connection that carries the `count`-th byte from now in `direction`, right after that byte."""
        return self._arm(ByteLimit(count, direction))

    def blackhole(self, direction: Direction | None = None) -> None:
        """Swallow all bytes, FIN and RST too, in one direction or both; connections stay open.

        New connections are accepted; if both directions are black, the upstream is not even dialled.
        """
        ways = directions(direction)
        self._call(lambda: self._server.blackhole(ways))

    def stall(self, direction: Direction | None = None) -> None:
        """Hold bytes back, in one direction or both, until `heal()` delivers them."""
        ways = directions(direction)
        self._call(lambda: self._server.stall(ways))

    def refuse(self) -> None:
        """Refuse new connections (the port is kept, and does not listen); open ones go on."""
        self._call(self._server.refuse)

    def latency(self, seconds: float) -> None:
        """Deliver each byte `seconds` after it arrived, in each direction; throughput is unchanged."""
        self._set("latency", _not_negative("latency", seconds))

    def slice(self, size_bytes: int, delay_seconds: float) -> None:
        """Forward in pieces of `size_bytes`, with `delay_seconds` before each."""
        if size_bytes < 1:
            raise ValueError(f"a slice of {size_bytes} bytes carries nothing: use 1 or more")
        self._set("slice_delay", _not_negative("the delay", delay_seconds))
        self._set("slice_bytes", size_bytes)

    def heal(self) -> None:
        """Take every fault back: network, refusal, cuts that have not fired. See the class for what comes alive."""
        self._call(self._server.heal)

    # -- faults at an AMQP frame

    def answer_frames(self, count: int) -> None:
        """On each new connection, pass `count` frames from the broker, then make a black hole of that connection."""
        self._set("answers", int(_not_negative("the number of frames", count)))

    def cut(
        self,
        frame: str,
        nth: int = 1,
        direction: Direction = "from_broker",
        when: When = "before",
        how: How = "reset",
    ) -> Fault:
        """Cut the connection that carries the nth frame of a kind, counted over all connections from now.

        when: before the frame (it is swallowed) or after it (it was delivered, to the peer's kernel at least).
        how: `reset` (RST), `close` (FIN), `blackhole` (silent for good, both ways), or `drop`: swallow this frame only,
        or `silence`: swallow what comes of that channel in that direction from now on, and let the others go on.
        A message is a method frame, a header and bodies: to drop it whole takes a drop for each.
        Raises ValueError for names that do not exist. Returns the armed cut.
        """
        return self._arm(Cut(frame, nth, direction, when, how))

    # -- its life

    def close(self, timeout: float = 5.0) -> None:
        """Close every socket and end the thread, within `timeout` seconds; TimeoutError if it does not end.

        Raises RuntimeError if the proxy itself failed meanwhile: what a test saw through it proves nothing then.
        """
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"{self!r} did not end within {timeout:g} s")
        _alive.discard(self)
        if self._server.failures:
            raise RuntimeError(f"{self!r} failed while it ran; do not trust the test") from self._server.failures[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.connections} open, {self.accepted} accepted"
        return f"<FaultProxy {self.url_host_port} -> {self._upstream[0]}:{self._upstream[1]}, {state}>"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve())

    def _call(self, action: Callable[[], _T]) -> _T:
        """Run `action` on the loop's thread and return what it returns; RuntimeError if the proxy is closed."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self!r}: open a new one")
            return self._run_on_loop(action)

    def _run_on_loop(self, action: Callable[[], _T]) -> _T:
        async def act() -> _T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(_CALL_TIMEOUT)

    def _arm(self, fault: Cut | ByteLimit) -> Fault:
        self._call(lambda: self._server.arm(fault))
        return fault

    def _set(self, name: str, value: float) -> None:
        self._call(lambda: setattr(self._server.network, name, value))

    def forget_after_fork(self) -> None:
        """Called in a forked child: it closes its copies of the sockets, so that the parent's faults still work."""
        self._closed = True
        self._lock = threading.Lock()  # the parent's other threads may have held it
        self._server.forget_after_fork()


def _not_negative(name: str, value: float) -> float:
    if value < 0:
        raise ValueError(f"{name} is {value}: it cannot be negative")
    return value


def _forget_all() -> None:
    for proxy in list(_alive):
        proxy.forget_after_fork()


os.register_at_fork(after_in_child=_forget_all)
