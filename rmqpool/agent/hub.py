"""One connection to the broker, and the clients that share it. All on the I/O thread of its link.

What clients say in one turn of the loop is written to the broker at its end, and what the broker says to each of them too.
"""

from __future__ import annotations

import functools
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rmqpool.agent.channel import Channel
from rmqpool.agent.client import Client
from rmqpool.agent.entrance import FORCED, Entrance, PlaceOf
from rmqpool.agent.gate import Gate
from rmqpool.agent.lessons import Lessons
from rmqpool.agent.options import AgentOptions, Bounds
from rmqpool.agent.peers import Peer
from rmqpool.agent.session import Session, SessionState
from rmqpool.agent.stats import AgentStats
from rmqpool.agent.violation import ChannelViolation, Violation
from rmqpool.amqp.connection import Connection
from rmqpool.amqp.link import Link
from rmqpool.errors import ConnectionFailedError, RmqpoolError

__all__ = ["Hub"]

_LOGGER = logging.getLogger("rmqpool")
_TICK = 1.0
_DRAIN_LOOK = 0.02
_MODEST = 8  # channels of a client; who has as many gets no more out of the last eighth
_KEPT_SHARE = 8


class Hub:
    """Stands on ``link``. ``adopt``, ``drain``, ``clients`` and ``stats`` are thread-safe."""

    def __init__(self, link: Link, options: AgentOptions, lessons: Lessons, place_of: PlaceOf) -> None:
        self.link = link
        self.lessons = lessons
        self.options = options
        self.bounds = Bounds.of(options.memory, options.connections)
        self.vhost = link.settings.vhost
        self.heartbeat = link.settings.heartbeat
        self.channel_max = link.settings.channel_max
        self.frame_max = link.settings.frame_max
        self.adopted = 0  # by the listener's thread
        self.taken_over = 0  # from other hubs; by this one's
        self.left = 0  # the same
        self.entrance = Entrance(self, place_of)
        self._clients: dict[Client, None] = {}
        self._channels: dict[int, Channel] = {}
        self._free: deque[int] = deque()
        self._connection: Connection | None = None
        self.properties: Mapping[str, Any] | None = None  # the broker's, since it was there first
        self._pending: list[bytes | bytearray] = []
        self._pending_size = 0
        self._dirty: dict[Client, None] = {}
        self._flushing = False
        self._unread = 0
        self.gate: Gate[Client] = Gate(link.call_later, self.bounds, self._unwritten)
        self._counts = {"messages": 0, "refused": 0, "cut": 0, "lost": 0}
        self._unanswered = 0  # publishes whose connection was lost while the agent stopped
        self._crossed: set[Channel] = set()  # at the last tick
        self._loop: Any = None
        link.attach(self)
        link.post(self._begin)

    # From any thread

    def adopt(self, connected: socket.socket, peer: Peer, refused: Violation | None) -> None:
        """Take a client over. Only one thread calls this."""
        self.adopted += 1
        if not self.link.post(lambda: self._adopt(connected, peer, refused)):
            connected.close()

    @property
    def clients(self) -> int:
        """How many there are."""
        return self.adopted + self.taken_over - self.left

    @property
    def load(self) -> int:
        """A client more goes where this is least."""
        return len(self._channels) + self.clients

    def stats(self) -> AgentStats:
        """The figures of this connection."""
        channels = list(self._channels.values())
        sessions = [client.session for client in list(self._clients)]
        return AgentStats(
            clients=self.clients,
            channels=len(channels),
            connections=int(self._connection is not None),
            waiting_bytes=self._unread + self.gate.begun + self._unwritten(),
            unanswered=sum(channel.unanswered for channel in channels),
            served=self.adopted,
            messages=self._counts["messages"] + sum(session.forwarded for session in sessions),
            refused=self._counts["refused"],
            cut=self._counts["cut"],
            lost=self._counts["lost"],
        )

    def drain(self, deadline: float, on_done: Callable[[int], None]) -> None:
        """Read no clients any more, wait until ``deadline`` (monotonic) for the answers to what was forwarded, deliver them and
        say goodbye. ``on_done`` gets the publishes without an answer, on the I/O thread.
        """
        self.link.post(lambda: self._drain(deadline, on_done))

    # The link speaks

    def link_up(self, connection: Connection, epoch: int) -> None:
        if not connection.fast:
            connection.abort(RuntimeError("the agent needs the fast path"))
            return
        other_frames = connection.params.frame_max not in (0, self.frame_max)
        self._connection = connection
        self.channel_max = connection.params.channel_max or 65535
        self.frame_max = connection.params.frame_max or self.frame_max
        self.properties = connection.server_properties
        self._free = deque(range(1, self.channel_max + 1))
        connection.forward(self._from_upstream)
        if other_frames:
            self._end_clients("the broker's frames have another size now", all_of_them=epoch > 1)
        self.entrance.broker_is_there()

    def link_down(self, error: RmqpoolError) -> None:
        if self._connection is not None:
            self._counts["lost"] += 1
            self._learn(self._connection.broker_close)
        self._connection = None
        if self.gate.is_closed:
            self._unanswered += sum(channel.unanswered for channel in self._channels.values())
        self._channels.clear()
        self._pending.clear()
        self._pending_size = 0
        self._end_clients(str(error), all_of_them=False)
        if self._loop is not self.link.loop:  # after a fault: nobody waits for their sockets there
            self._loop = self.link.loop
            for client in tuple(self._clients):
                client.hang()

    def _learn(self, close: tuple[int, str] | None) -> None:
        if close is not None and self.lessons.learn(*close, time.monotonic()):
            _LOGGER.warning("one client has ended the connection of all, and will not do so again soon: %d %s", *close)

    def link_blocked(self, reason: str) -> None:
        for client in tuple(self._clients):
            client.session.blocked(reason)

    def link_unblocked(self) -> None:
        for client in tuple(self._clients):
            client.session.blocked(None)

    def link_refused(self, error: ConnectionFailedError) -> None:
        self.entrance.broker_refuses()

    def _end_clients(self, why: str, *, all_of_them: bool) -> None:
        """Those that had channels have lost them; the others stay, unless ``all_of_them`` go."""
        for client in tuple(self._clients):
            if client.session.upstream_lost() or (all_of_them and client.session.state is SessionState.RUNNING):
                client.session.close(FORCED, f"CONNECTION_FORCED - the agent has no connection to the broker: {why}")
            self.gate.has_read(client, client.session.waiting_bytes)

    # Clients come and go

    def _begin(self) -> None:
        self._loop = self.link.loop
        self._tick()

    def _adopt(self, connected: socket.socket, peer: Peer, refused: Violation | None) -> None:
        client = Client(self, connected, peer, refused)
        self._clients[client] = None
        self.link.nudge()

    @property
    def is_connected(self) -> bool:
        """The broker is there."""
        return self._connection is not None

    @property
    def no_broker(self) -> str:
        """What clients are told then."""
        return f"CONNECTION_FORCED - the agent has no connection to the broker: {self.link.why_not_ready()}"

    @property
    def loop(self) -> Any:
        """The I/O loop of this moment."""
        return self.link.loop

    def gone(self, client: Client) -> None:
        """Its socket is closed."""
        self._counts["messages"] += client.session.forwarded
        self.let_go(client)

    def let_go(self, client: Client) -> None:
        """It has no place here any longer."""
        client.leave()
        self._unread -= client.unread_bytes
        self.gate.forget(client)
        self.entrance.forget(client)
        for group in (self._clients, self._dirty):
            group.pop(client, None)
        self.left += 1

    def take_over(self, client: Client) -> None:
        """It was let go, by another hub or this one."""
        self.taken_over += 1
        self._clients[client] = None
        self._unread += client.unread_bytes
        client.come_to(self)
        self.wants_flush(client)
        self.entrance.admit(client)

    def cut(self, client: Client, why: str) -> None:
        """End it, at the end of this turn."""
        if not client.doomed:
            client.doomed = why
            self._counts["cut"] += 1
            _LOGGER.warning("the client %s was cut: %s", client, why)
            self.wants_flush(client)

    def misbehaved(self, client: Client, violation: Violation) -> None:
        """It is refused something, or everything."""
        if violation.code == FORCED:
            return
        if client.session.state is SessionState.STARTED:
            self._counts["refused"] += 1
            _LOGGER.warning("the client %s was not let in: %s", client, violation)
            return
        what = "channel" if isinstance(violation, ChannelViolation) else "connection"
        if what == "connection":
            self._counts["cut"] += 1
        _LOGGER.warning("a %s of the client %s was closed: %s", what, client, violation)

    def contained(self, client: Client, function: Callable[[], None]) -> None:
        """An error of ours with one client costs that client only."""
        try:
            function()
        except Exception:
            _LOGGER.exception("an error with the client %s was contained; please report it", client)
            client.drop("a fault inside the agent")

    # Channels

    def new_channel(self, number: int, owner: Session) -> Channel | None:
        """A channel of the broker's under a number that is free there; None: all are taken, or kept for others."""
        if self._connection is None:
            raise Violation(FORCED, self.no_broker)
        kept = self.channel_max // _KEPT_SHARE if len(owner.channels) >= _MODEST else 0
        if len(self._free) <= kept:
            return None
        channel = Channel(number, self._free.popleft(), owner, self)
        self._channels[channel.upstream_number] = channel
        return channel

    def release(self, channel: Channel) -> None:
        """The broker has closed it."""
        if self._channels.get(channel.upstream_number) is channel:
            del self._channels[channel.upstream_number]
            self._free.append(channel.upstream_number)

    def _from_upstream(self, number: int, kind: int, frame: bytes) -> None:
        channel = self._channels.get(number)
        if channel is None:
            return
        try:
            channel.receive(kind, frame)
        except Exception:
            _LOGGER.exception("an error with a frame of the broker's was contained; please report it")

    # Bytes

    def to_upstream(self, data: bytes | bytearray) -> None:
        """Frames for the broker."""
        if self._connection is None:
            return
        self._pending.append(data)
        self._pending_size += len(data)
        self.gate.look(self._pending_size)
        self._flush_soon()

    def _unwritten(self) -> int:
        """Bytes that the broker has not taken yet."""
        return self._pending_size + (self._connection.unwritten_bytes if self._connection is not None else 0)

    def unread(self, client: Client, change: int) -> None:
        """So many bytes more wait for a client (fewer, if negative)."""
        client.unread_bytes += change
        self._unread += change
        if change <= 0:
            return
        if client.unread_bytes > self.bounds.unread:
            self.cut(client, f"it does not read: {client.unread_bytes} bytes wait for it")
        elif self._unread > self.bounds.unread:
            slowest = max(self._clients, key=lambda one: one.unread_bytes)
            self.cut(slowest, f"it does not read: {slowest.unread_bytes} bytes wait for it, and all memory is taken")
        self.wants_flush(client)

    def wants_flush(self, client: Client) -> None:
        """Write to it at the end of this turn."""
        self._dirty[client] = None
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.link.at_end_of_turn(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        dirty, self._dirty = self._dirty, {}
        for client in dirty:
            self.contained(client, client.end_of_turn)
        connection = self._connection
        if connection is None or not self._pending:
            return
        pending, self._pending, self._pending_size = self._pending, [], 0
        connection.write(bytes(pending[0]) if len(pending) == 1 else b"".join(pending))
        self.gate.look(connection.unwritten_bytes)

    def _tick(self) -> None:
        now = time.monotonic()
        for client in tuple(self._clients):
            self.contained(client, functools.partial(client.tick, now))
        crossed = {channel for channel in self._channels.values() if channel.is_crossed}
        for channel in crossed & self._crossed:
            self.release(channel)  # its close-ok will not come any more
        self._crossed = crossed
        stalled = self.gate.stalled(now)
        if stalled is not None:
            self.cut(stalled, "it stopped in the middle of a message, and memory is short")
        self.link.call_later(_TICK, self._tick)

    # The end

    def _drain(self, deadline: float, on_done: Callable[[int], None]) -> None:
        self.gate.close()
        for client in tuple(self._clients):
            if client.session.state is not SessionState.CLOSING:
                client.pause()
        self._await_answers(deadline, on_done)

    def _await_answers(self, deadline: float, on_done: Callable[[int], None]) -> None:
        connection = self._connection
        missing = sum(channel.unanswered for channel in self._channels.values())
        leaving = any(channel.is_leaving for channel in self._channels.values())
        if connection is None or time.monotonic() >= deadline or not (missing or leaving or self._unwritten()):
            for client in tuple(self._clients):
                client.session.close(FORCED, "CONNECTION_FORCED - the agent stops")
                client.resume()
            unanswered = missing + self._unanswered
            self._await_goodbyes(lambda: on_done(unanswered))
            return
        self.link.call_later(_DRAIN_LOOK, lambda: self._await_answers(deadline, on_done))

    def _await_goodbyes(self, on_done: Callable[[], None]) -> None:
        if not self._clients:
            on_done()
        else:  # a client that does not answer is dropped by its tick
            self.link.call_later(_DRAIN_LOOK, lambda: self._await_goodbyes(on_done))
