"""One connection through the proxy: a client socket, an upstream socket, and a lane of frames each way.

All of it runs on the proxy's loop. A lane reads ahead into a short queue and writes at the time, in the pieces and to
the extent that the faults in force allow; every decision to pass, swallow or cut is made when a frame leaves the queue.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from rmqpool.testing.amqp_frames import Frame, FrameScanner
from rmqpool.testing.faults import DIRECTIONS, Cut, Direction, How, Network
from rmqpool.testing.proxy_counters import Counters

__all__ = ["Link", "Shared"]

_READ_BYTES: Final = 65536
_QUEUED_READS: Final = 64  # then TCP's own back-pressure reaches the sender
_CONNECT_TIMEOUT: Final = 5.0  # seconds
_SETTLE_TIMEOUT: Final = 1.0  # seconds
_SETTLE_POLL: Final = 0.001  # seconds
_SIOCOUTQNSD: Final = 0x894B  # linux/sockios.h: bytes not sent yet
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Shared:
    """What all links of a proxy have in common."""

    upstream: tuple[str, int]
    network: Network
    counters: Counters
    flowing: dict[Direction, asyncio.Event]


class _End(enum.Enum):
    """How a source stopped giving bytes."""

    EOF = enum.auto()
    RESET = enum.auto()


class Link:
    """A client's connection and its upstream connection, from accept to close."""

    def __init__(self, client: socket.socket, shared: Shared) -> None:
        self.shared = shared
        self.dead: set[Direction] = set(shared.network.black)
        self.silent: set[tuple[Direction, int]] = set()  # channels whose frames are swallowed
        self.over = False
        self._answers = shared.network.answers
        self._client = client
        self._upstream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._ended = asyncio.Event()
        self._counted = True
        self._lanes = 0
        for sock in self.sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shared.counters.connection_opened()

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """The client's socket and the upstream socket."""
        return (self._client, self._upstream)

    async def run(self) -> None:
        """Carry bytes until both directions have ended or the link was reset; then close both sockets."""
        try:
            if self.dead.issuperset(DIRECTIONS):  # silent from the start: the upstream is not dialled
                await self._carry(("to_broker",))
            elif await self._connect():
                await self._carry(DIRECTIONS)
        finally:
            self._close()

    def blackhole(self, ways: tuple[Direction, ...] = DIRECTIONS) -> None:
        """Swallow everything in these directions from now on, for the rest of this link's life."""
        self.dead.update(ways)

    def reset(self) -> None:
        """Send RST to both ends now. Bytes that the kernel still holds are lost."""
        if self.over:
            return
        for sock in self.sockets:
            with suppress(OSError):  # a socket that was never connected
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._close()

    async def settle_and_reset(self) -> None:
        """Reset after both peers' kernels have what was written, so that the cut comes where it was asked for."""
        deadline = asyncio.get_running_loop().time() + _SETTLE_TIMEOUT
        while any(_unsent_bytes(sock) for sock in self.sockets) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_SETTLE_POLL)
        self.reset()

    def finish(self) -> None:
        """Send FIN to both ends, as an orderly close, and swallow what they still send."""
        self.blackhole()
        for sock in self.sockets:
            _shutdown_write(sock)

    def source_ended(self, direction: Direction) -> None:
        """A lane has passed on its last byte; the link ends with its last lane.

        A client that closed behind a black hole is not an open connection any more, whatever the broker knows.
        """
        if direction == "to_broker" and direction in self.dead:
            self._count_closed()
        self._lanes -= 1
        if self._lanes == 0:
            self._ended.set()

    def may_answer(self, answered: int) -> bool:
        """Whether the broker, having sent so many frames on this link, may send one more."""
        return self._answers is None or answered < self._answers

    def forget_after_fork(self) -> None:
        """Close this process' copies of the sockets; the parent's connections are untouched."""
        for sock in self.sockets:
            sock.close()

    async def _connect(self) -> bool:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(self._upstream, self.shared.upstream)
        except (OSError, TimeoutError):
            self.reset()
            return False
        return True

    async def _carry(self, ways: tuple[Direction, ...]) -> None:
        ends = {"to_broker": (self._client, self._upstream), "from_broker": (self._upstream, self._client)}
        lanes = [_Lane(self, way, *ends[way]) for way in ways]
        self._lanes = len(lanes)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(lane.run()) for lane in lanes]
            await self._ended.wait()
            for task in tasks:
                task.cancel()

    def _close(self) -> None:
        if self.over:
            return
        self.over = True
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            loop.remove_reader(sock)  # before the close: the descriptor's number is soon another connection's
            loop.remove_writer(sock)
            sock.close()
        self._count_closed()
        self._ended.set()

    def _count_closed(self) -> None:
        if self._counted:
            self._counted = False
            self.shared.counters.connection_closed()


class _Lane:
    """One direction of a link."""

    def __init__(self, link: Link, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        self._link = link
        self._direction = direction
        self._source = source
        self._target = target
        self._queue: asyncio.Queue[tuple[float, list[Frame] | _End]] = asyncio.Queue(_QUEUED_READS)
        self._answered = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._write())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        scanner = FrameScanner()
        end = _End.EOF
        try:
            while data := await loop.sock_recv(self._source, _READ_BYTES):
                await self._queue.put((loop.time(), scanner.feed(data)))
        except OSError:
            end = _End.RESET
        await self._queue.put((loop.time(), scanner.flush()))
        await self._queue.put((loop.time(), end))

    async def _write(self) -> None:
        while not self._link.over:
            arrived, item = await self._queue.get()
            await self._wait_for_its_time(arrived)
            if isinstance(item, _End):
                self._pass_on_the_end(item)
                return
            try:
                await self._handle(item)
            except OSError:  # the target is gone
                self._link.reset()

    async def _wait_for_its_time(self, arrived: float) -> None:
        if self._is_dead:
            return
        late = arrived + self._link.shared.network.latency - asyncio.get_running_loop().time()
        if late > 0:
            await asyncio.sleep(late)
        await self._link.shared.flowing[self._direction].wait()

    def _pass_on_the_end(self, end: _End) -> None:
        if end is _End.RESET and not self._is_dead:
            self._link.reset()
        elif not self._is_dead:
            _shutdown_write(self._target)
        self._link.source_ended(self._direction)

    @property
    def _is_dead(self) -> bool:
        return self._direction in self._link.dead

    async def _handle(self, frames: list[Frame]) -> None:
        """Decide for each frame; those that pass are written together, up to the next one that does not."""
        passing: list[Frame] = []
        for frame in frames:
            if not self._is_dead and self._is_silenced():
                await self._send(passing)
                passing = []
                self._link.blackhole()
            if self._is_dead or self._link.over or (self._direction, frame.channel) in self._link.silent:
                self._swallow(frame)
                continue
            cut = self._link.shared.network.cut_for(frame, self._direction)
            self._answered += 1
            if cut is None or cut.when == "after":
                passing.append(frame)
            if cut is not None:
                await self._send(passing)
                passing = []
                await self._carry_out(cut, frame)
        await self._send(passing)

    def _is_silenced(self) -> bool:
        return self._direction == "from_broker" and not self._link.may_answer(self._answered)

    def _swallow(self, frame: Frame) -> None:
        self._link.shared.counters.count([frame], self._direction, swallowed=True)

    async def _carry_out(self, cut: Cut, frame: Frame) -> None:
        if cut.when == "before":
            self._swallow(frame)
        if cut.how == "silence":
            self._link.silent.add((self._direction, frame.channel))
        await self._act(cut.how)
        cut.mark_fired()

    async def _act(self, how: How) -> None:
        if how == "reset":
            await self._link.settle_and_reset()
        elif how == "close":
            self._link.finish()
        elif how == "blackhole":
            self._link.blackhole()

    async def _send(self, frames: list[Frame]) -> None:
        network = self._link.shared.network
        if network.limit_for(self._direction) is None and not network.slice_bytes:
            await self._write_whole(frames)
            return
        for frame in frames:
            await self._write_limited(frame)

    async def _write_whole(self, frames: list[Frame]) -> None:
        if frames:
            await asyncio.get_running_loop().sock_sendall(self._target, b"".join(frame.raw for frame in frames))
            self._link.shared.counters.count(frames, self._direction)

    async def _write_limited(self, frame: Frame) -> None:
        """Write one frame, or its beginning and then reset."""
        network = self._link.shared.network
        if self._link.over:
            self._swallow(frame)
            return
        limit = network.limit_for(self._direction)
        allowed = len(frame.raw) if limit is None else limit.take(len(frame.raw))
        fires = limit is not None and limit.spent
        if limit is not None and fires:
            network.limits.remove(limit)  # before the writing: another link's bytes must not set it off again
        await self._write_sliced(frame.raw[:allowed])
        if allowed == len(frame.raw):
            self._link.shared.counters.count([frame], self._direction)
        if limit is not None and fires:
            await self._link.settle_and_reset()
            limit.mark_fired()

    async def _write_sliced(self, data: bytes) -> None:
        network = self._link.shared.network
        while data:
            size = network.slice_bytes or len(data)  # looked at again: it may be healed in the middle of a frame
            await asyncio.sleep(network.slice_delay)  # without a delay too: the loop has others to serve
            await asyncio.get_running_loop().sock_sendall(self._target, data[:size])
            data = data[size:]


def _shutdown_write(sock: socket.socket) -> None:
    with suppress(OSError):  # its peer was faster
        sock.shutdown(socket.SHUT_WR)


def _unsent_bytes(sock: socket.socket) -> int:
    """Bytes that wait in our kernel because the peer's window is full; closing with RST would lose them."""
    if sock.fileno() < 0:
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(sock, _SIOCOUTQNSD, b"\0\0\0\0"))
    return int(count)
