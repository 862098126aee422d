"""The publish connections of one pool: each thread keeps to one of them, so that its messages keep their order.

A connection that is not wanted any longer (drained, too old, the pool was made smaller) is retired: it takes nothing new,
brings what it has to its outcomes, and ends. The pool knows it until then: flush() and close() wait for it too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from rmqpool.amqp.calling import Calling
from rmqpool.amqp.link import Link, LinkState, LinkStatus
from rmqpool.amqp.publishing import Publishing
from rmqpool.errors import PoolClosedError
from rmqpool.topology import Topology
from rmqpool.window import Window

__all__ = ["PublishConnection", "PublishConnections"]


class PublishConnection:
    """A publish connection, its engines, and when it is to be replaced (monotonic). Thread-safe."""

    def __init__(self, link: Link, publishing: Publishing, retire_at: float) -> None:
        self.link = link
        self.publishing = publishing
        self._retire_at = retire_at
        self._retired = False
        self._lock = threading.Lock()
        self._calling: Calling | None = None

    @property
    def engines(self) -> tuple[Publishing, ...]:
        """The engine for messages, and the one for calls if there ever was a call."""
        calling = self._calling
        return (self.publishing,) if calling is None else (calling, self.publishing)

    @property
    def late_replies(self) -> int:
        """Replies that nobody waited for any longer."""
        return self._calling.late if self._calling is not None else 0

    def calling(self) -> Calling | None:
        """The engine for calls, made for the first of them; None if it would be made too late."""
        with self._lock:
            if self._calling is None and self._retired:
                return None
            if self._calling is None:
                self._calling = Calling(self.link, *self.publishing.window.bounds)
                self.link.attach(self._calling)
            return self._calling

    @property
    def usable(self) -> bool:
        """True while new messages may go here."""
        return not self._retired and not self.publishing.closed and time.monotonic() < self._retire_at

    @property
    def ended(self) -> bool:
        """True once the connection and its thread are gone."""
        return self.link.status().state is LinkState.CLOSED

    def retire(self) -> None:
        """Take no new messages; the connection ends by itself once the last one has its outcome."""
        with self._lock:
            self._retired = True
            calling = self._calling
        if calling is None:
            self.publishing.retire()
        else:
            calling.retire_then(self.publishing.retire)

    def close(self, deadline: float) -> bool:
        """Wait until ``deadline`` for outcomes and replies, then end what is left; True if nothing was left."""
        clean = [engine.close(deadline) for engine in self.engines]
        return all(clean)

    def abandon_after_fork(self) -> None:
        """In a forked child: it is the parent's."""
        for engine in self.engines:
            engine.abandon_after_fork()
        self.link.abandon_after_fork()


class PublishConnections:
    """``count`` connections, made by ``make`` when they are needed. Thread-safe.

    ``refuse`` raises when messages are not to be taken for a connection now (None: they always are).
    """

    def __init__(
        self,
        make: Callable[[], PublishConnection],
        count: int,
        refuse: Callable[[Link], None] | None = None,
    ) -> None:
        self._make = make
        self._refuse = refuse
        self._count = count
        self._lock = threading.RLock()
        self._local = threading.local()
        self._current: list[PublishConnection] = []
        self._retired: list[PublishConnection] = []
        self._turn = 0
        self._late = 0  # replies that came late on connections that ended
        self._closed = False

    @property
    def links(self) -> tuple[Link, ...]:
        """Those that take messages."""
        return tuple(connection.link for connection in tuple(self._current))

    def open(self) -> None:
        """Make what is missing; does not wait. Raises PoolClosedError."""
        with self._lock:
            self._check_open()
            while len(self._current) < self._count:
                self._current.append(self._make())

    def mine(self) -> Publishing:
        """The calling thread's engine; another one only after its connection was retired.

        Raises PoolClosedError, and what ``refuse`` raises.
        """
        connection: PublishConnection | None = getattr(self._local, "connection", None)
        if connection is not None and connection.usable and not self._closed:
            if self._refuse is not None:
                self._refuse(connection.link)
            return connection.publishing
        with self._lock:
            self._retire(connection for connection in self._current if not connection.usable)
            self.open()
            chosen = self._current[self._turn % len(self._current)]
            self._turn += 1
            if connection is not None and connection is not chosen:  # its messages go first
                chosen.publishing.succession.follow(connection.publishing.window)
        self._local.connection = chosen
        if self._refuse is not None:
            self._refuse(chosen.link)
        return chosen.publishing

    def calling(self) -> Calling:
        """The calling thread's engine for calls, on the same connection. Raises PoolClosedError."""
        while True:
            self.mine()
            connection: PublishConnection = self._local.connection
            engine = connection.calling()
            if engine is not None:
                return engine

    def resize(self, count: int) -> None:
        """Change how many there are; surplus ones retire."""
        with self._lock:
            self._check_open()
            running, self._count = bool(self._current), count
            self._retire(self._current[count:])
            if running:
                self.open()

    def grow(self, count: int) -> None:
        """Replace all of them by ``count``, and do not wait: each thread goes to a new one, behind what it left on the old."""
        with self._lock:
            self._check_open()
            self._count = count
            self._retire(self._current)
            self.open()

    def windows(self) -> list[Window]:
        """Those of the connections that take messages."""
        return [connection.publishing.window for connection in tuple(self._current)]

    def replace(self, deadline: float) -> None:
        """New ones for all, and wait until ``deadline`` for the old ones to end; they end anyway."""
        with self._lock:
            self._check_open()
            old = tuple(self._current)
            self._retire(old)
            if old:
                self.open()
        for connection in old:
            connection.close(deadline)
            connection.link.close(max(0.5, deadline - time.monotonic()))

    def declare_on_connect(self, topology: Iterable[Topology]) -> None:
        """Declare these values on every later connection."""
        items = tuple(topology)
        with self._lock:
            for connection in self._living():
                connection.publishing.declare_on_connect(items)

    def forget(self, topology: Iterable[Topology]) -> None:
        """Declare these values no longer."""
        items = tuple(topology)
        with self._lock:
            for connection in self._living():
                connection.publishing.forget(items)

    def flush(self, deadline: float) -> bool:
        """Wait until no message is on its way; False if some still are at ``deadline``."""
        with self._lock:
            engines = self._engines()
        return all(engine.window.wait_empty(deadline) for engine in engines)

    def close(self) -> list[PublishConnection]:
        """Take nothing new; returns every connection that is to be ended."""
        with self._lock:
            self._closed = True
            living = self._living()
            self._current, self._retired = [], []
        return living

    def statuses(self) -> tuple[LinkStatus, ...]:
        """Those that take messages."""
        return tuple(link.status() for link in self.links)

    def unsettled(self) -> int:
        """Messages without an outcome, also on connections that retire."""
        with self._lock:
            return sum(engine.window.messages for engine in self._engines())

    def unconfirmed(self) -> int:
        """Messages written and not answered, also on connections that retire."""
        with self._lock:
            return sum(engine.unconfirmed for engine in self._engines())

    def late_replies(self) -> int:
        """Replies that nobody waited for any longer, also on connections that ended."""
        with self._lock:
            return self._late + sum(connection.late_replies for connection in self._living())

    def broker_generation(self) -> int | None:
        """The broker's major version, None until a connection told it."""
        for status in self.statuses():
            major = status.broker.rpartition(" ")[2].partition(".")[0]
            if major.isdigit():
                return int(major)
        return None

    def abandon_after_fork(self) -> None:
        """In a forked child: the parent's connections are not ours, and nobody else runs here yet."""
        for connection in (*self._current, *self._retired):
            connection.abandon_after_fork()

    def _living(self) -> list[PublishConnection]:
        self._forget_ended()
        return [*self._current, *self._retired]

    def _engines(self) -> list[Publishing]:
        return [engine for connection in self._living() for engine in connection.engines]

    def _retire(self, connections: Iterable[PublishConnection]) -> None:
        for connection in tuple(connections):
            self._current.remove(connection)
            self._retired.append(connection)
            connection.retire()
        self._forget_ended()

    def _forget_ended(self) -> None:
        ended = [connection for connection in self._retired if connection.ended]
        self._late += sum(connection.late_replies for connection in ended)
        self._retired = [connection for connection in self._retired if connection not in ended]

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError("the pool is closed: open a new one")
