"""The socket of one client, on the I/O thread of the link that it was given to. Reading and writing are the host's part of a
session: it is read once a turn of the loop, so that none is in the others' way, and written at the end of the turn.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Set
from typing import TYPE_CHECKING, Any

from rmqpool.agent.channel import Channel
from rmqpool.agent.peers import Peer
from rmqpool.agent.session import Session, SessionState
from rmqpool.agent.violation import Violation
from rmqpool.amqp.server_side import HEARTBEAT

if TYPE_CHECKING:
    from rmqpool.agent.hub import Hub

__all__ = ["Client"]

_FAREWELL_SIZE = 64 * 1024  # bytes read at once of a client that is being closed
_READ, _WRITE = 1, 4  # EPOLLIN, EPOLLOUT
_GREETING = 5.0  # seconds for a handshake
_FAREWELL = 2.0  # seconds for an answer to connection.close
_SILENCE = 2.5  # heartbeats without a byte


class Client:
    """``refused`` is why it will not be let in, None if it will. Every method: I/O thread only."""

    def __init__(self, hub: Hub, connected: socket.socket, peer: Peer, refused: Violation | None) -> None:
        connected.setblocking(False)
        self.session = Session(self)
        self.peer = peer
        self.deadline = 0.0  # for the broker to be there; monotonic
        self.doomed = ""  # why it is to be cut at the end of the turn
        self.unread_bytes = 0  # written for it, and not taken yet
        self.counted = 0  # of what it has half-said, in the hub's sum
        self.read_at = self.written_at = time.monotonic()
        self._hub = hub
        self._socket = connected
        self._refused = refused
        self._began = self.read_at
        self._closing_at: float | None = None
        self._out: list[bytes] = []
        self._left: memoryview | None = None
        self._interest = 0
        self._reads = True
        self._deaf = False  # its end of the socket takes nothing more
        self._loop: Any = None
        self.hang()

    # Its socket in the loop

    def hang(self) -> None:
        """Wait for what the socket has to say, in the loop that the link has now."""
        self._loop, self._interest = self._hub.loop, 0
        self._wait()

    def leave(self) -> None:
        """Wait for nothing any more, in this loop."""
        if self._interest:
            self._loop.remove_handler(self._socket.fileno())
        self._interest = 0

    def come_to(self, hub: Hub) -> None:
        """It belongs to another hub from here on; on the I/O thread of that one."""
        self._hub = hub
        self.hang()
        self.resume()

    def pause(self) -> None:
        """Read nothing more for now."""
        self._reads = False
        self._wait()

    def resume(self) -> None:
        """Read again; nobody is to be blamed for the silence before."""
        self.read_at = time.monotonic()
        self._reads = True
        self._wait()

    def _wait(self) -> None:
        """Not at all while nothing is wanted: a socket that was hung up would wake the loop again and again."""
        interest = (_READ if self._reads else 0) | (_WRITE if self._left is not None or self._out else 0)
        if interest == self._interest or self.is_closed:
            return
        file, loop = self._socket.fileno(), self._loop
        if not self._interest:
            loop.add_handler(file, self._on_event, interest)
            loop.read_with(file, self._on_readable)
        elif interest:
            loop.update_handler(file, interest)
        else:
            loop.remove_handler(file)
        self._interest = interest

    @property
    def is_closed(self) -> bool:
        """The socket is no more."""
        return self._socket.fileno() < 0

    def _on_event(self, _file: int, events: int) -> None:
        if events & _WRITE:
            self._hub.contained(self, self.flush)
        if events & _READ and not self.is_closed:
            self._on_readable()

    def _on_readable(self) -> None:
        self._hub.contained(self, self._read)

    def _read(self) -> None:
        if self.is_closed or self.doomed:
            return
        ends = self.session.state in (SessionState.CLOSING, SessionState.ENDED)
        size = _FAREWELL_SIZE if ends else self._hub.gate.room_for(self)
        if not size:
            self.pause()
            return
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop("the client is gone")
            return
        self.read_at = time.monotonic()
        self.session.feed(data)
        self._hub.gate.has_read(self, self.session.waiting_bytes)

    def end_of_turn(self) -> None:
        """Write what was said to it, or end it."""
        if self.doomed:
            self.drop(self.doomed)
        else:
            self.flush()

    def flush(self) -> None:
        """Write as much as the socket takes."""
        if self.is_closed:
            return
        while self._left is not None or self._out:
            if self._left is None:
                self._left = memoryview(self._out[0] if len(self._out) == 1 else b"".join(self._out))
                self._out.clear()
            try:
                sent = self._socket.send(self._left)
            except BlockingIOError:
                break
            except OSError:  # it hung up; what it has said before is still to be read
                self._deaf = True
                self._out.clear()
                self._left = None
                self._hub.unread(self, -self.unread_bytes)
                break
            self._hub.unread(self, -sent)
            self.written_at = time.monotonic()
            self._left = self._left[sent:] if sent < len(self._left) else None
        self._wait()
        if self.session.has_ended and self._left is None and not self._out:
            self.drop("ended")

    def drop(self, why: str) -> None:
        """Close the socket; what it had open at the broker's is closed too. Idempotent."""
        if self.is_closed:
            return
        self.leave()
        self._socket.close()
        self._out.clear()
        self._left = None
        self._hub.unread(self, -self.unread_bytes)
        self.session.abandon(why)
        self._hub.gone(self)

    # What the clock says, about once a second

    def tick(self, now: float) -> None:
        """Heartbeats, and those that say nothing."""
        state, heartbeat = self.session.state, self.session.heartbeat
        if state in (SessionState.CLOSING, SessionState.ENDED):
            if self._closing_at is None:
                self._closing_at = now
            if now - self._closing_at >= _FAREWELL:
                self.drop("no answer to connection.close")
        elif state is not SessionState.RUNNING:
            if now - self._began >= _GREETING:
                self._hub.cut(self, f"no handshake within {_GREETING:g} s")
        elif heartbeat:
            if self._reads and now - self.read_at > _SILENCE * heartbeat:
                self._hub.cut(self, f"nothing came from it for {now - self.read_at:.0f} s")
            elif now - self.written_at >= heartbeat / 2:
                self.written_at = now
                self.to_client(HEARTBEAT)

    # The host of its session

    @property
    def channel_max(self) -> int:
        return self._hub.channel_max

    @property
    def frame_max(self) -> int:
        return self._hub.frame_max

    @property
    def heartbeat(self) -> int:
        return self._hub.heartbeat

    @property
    def largest_message(self) -> int:
        return self._hub.bounds.largest_message

    @property
    def vhost(self) -> str:
        return self._hub.vhost

    @property
    def exchange_types(self) -> Set[bytes]:
        return self._hub.options.exchange_types

    def greeted(self) -> None:
        self._hub.entrance.greeted(self)

    def refusal(self) -> Violation | None:
        return self._refused

    def wants_in(self) -> None:
        self._hub.entrance.wants_in(self)

    def new_channel(self, number: int) -> Channel | None:
        return self._hub.new_channel(number, self.session)

    def check_lessons(self, method: int, arguments: list[Any], is_global: bool) -> None:
        self._hub.lessons.check(method, arguments, is_global, time.monotonic())

    def to_upstream(self, data: bytes | bytearray) -> None:
        self._hub.to_upstream(data)

    def to_client(self, data: bytes) -> None:
        if self._deaf or self.is_closed or self.doomed:
            return
        self._out.append(data)
        self._hub.unread(self, len(data))

    def misbehaved(self, violation: Violation) -> None:
        self._hub.misbehaved(self, violation)

    def ended(self) -> None:
        """Everything is said: the socket is closed as soon as it is written."""
        self._hub.wants_flush(self)

    def __str__(self) -> str:
        name: Any = self.session.client.get("connection_name")
        shown = isinstance(name, str) and name and name.isprintable()
        return f"{self.peer} ({name[:100]})" if shown else str(self.peer)
