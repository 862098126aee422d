"""The connection pool: a few long-lived AMQP connections, apart for publishing, consuming and leased channels.

A channel.open on a blocked publish connection gets no answer, and a publish stalls the acks of a connection that also
consumes: hence three kinds. Connections are made on demand; the pool survives a fork (the child opens its own).
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from rmqpool.callables import plain_function
from rmqpool.errors import PoolClosedError
from rmqpool.late_imports import IMPORTING
from rmqpool.pool_events import EventListener, PoolEventKind
from rmqpool.pool_options import (
    autoscale_below,
    bounds,
    channels_below,
    circuit_breaker,
    connection_settings,
    seconds,
    seconds_or_now,
    whole_number,
)
from rmqpool.pool_process import INHERITED, POOLS
from rmqpool.pool_telling import PoolTelling
from rmqpool.settings import ConnectionSettings
from rmqpool.topology import Topology

if TYPE_CHECKING:
    from rmqpool.breaker import Breaker
    from rmqpool.core.autoscale import Autoscale
    from rmqpool.pool_parts import Calling, ChannelLeases, LeasedChannel, Link, PoolStats, PublishConnection, Publishing

__all__ = ["ConnectionPool"]

_SERIALS = itertools.count(1)


class ConnectionPool(PoolTelling):
    """A pool of AMQP connections. Thread-safe, fork-safe, a context manager; opens itself at its first use.

    ``url`` is an ``amqp://`` or ``amqps://`` URL (several hosts allowed) or :class:`ConnectionSettings`. Times are
    seconds: ``timeout`` is the default deadline of a publish and of ``channel()``; ``max_lifetime`` replaces publish
    connections and leased channels after that time (with jitter), ``max_idle`` closes idle leased channels.
    ``max_waiting`` bounds who may wait for a channel (0: no bound). ``blocked_timeout`` ends queued publishes as not sent
    that many seconds after the broker blocked the connection (None: at their own deadlines). ``window`` and
    ``window_bytes`` bound the messages without an outcome on each publish connection. ``leak_after``: a channel that is
    leased for longer is reported, once, with who holds it and where (None: never). ``autoscale``: leased channels follow the
    load within these bounds, from ``channels_per_connection`` on (None: they do not); ``autoscale_connections``: so do publish
    connections, from ``publish_connections`` on. ``breaker`` hears what each attempt to connect came to; while it is open,
    attempts are its probes, and whoever would wait for a connection gets CircuitOpenError at once (None: they wait).
    ``on_event`` is called with each :class:`PoolEvent`, on an I/O thread mostly, and must not block.

    Raises ConfigurationError for values that make no sense.
    """

    def __init__(
        self,
        url: str | ConnectionSettings = "amqp://guest:guest@127.0.0.1/",
        *,
        heartbeat: int | None = None,
        publish_connections: int = 1,
        consume_connections: int = 1,
        channels_per_connection: int = 32,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 3600.0,
        max_idle: float = 600.0,
        blocked_timeout: float | None = None,
        window: int = 5000,
        window_bytes: int = 64 * 1024 * 1024,
        leak_after: float | None = None,
        name: str = "",
        autoscale: Autoscale | None = None,
        autoscale_connections: Autoscale | None = None,
        breaker: Breaker | None = None,
        on_event: EventListener | None = None,
    ) -> None:
        with IMPORTING:
            import rmqpool.pool_parts  # noqa: F401

        self.settings = connection_settings(url, heartbeat, blocked_timeout, name)
        self.timeout = seconds("timeout", timeout)
        self._sizes = {
            "publish_connections": whole_number("publish_connections", publish_connections),
            "consume_connections": whole_number("consume_connections", consume_connections),
            "channels_per_connection": channels_below(self.settings.channel_max, channels_per_connection),
        }
        self._max_waiting = whole_number("max_waiting", max_waiting, least=0)
        self._max_lifetime = seconds("max_lifetime", max_lifetime)
        self._max_idle = seconds("max_idle", max_idle)
        self._window = whole_number("window", window)
        self._window_bytes = whole_number("window_bytes", window_bytes)
        self._leak_after = None if leak_after is None else seconds("leak_after", leak_after)
        self._autoscale = autoscale_below(self.settings.channel_max, autoscale)
        self._autoscale_connections = bounds("autoscale_connections", autoscale_connections)
        self._breaker = circuit_breaker(breaker)
        if on_event is not None:
            plain_function("on_event", on_event)
        self._on_event = on_event
        self._closed = False
        self._declared: Counter[Topology] = Counter()
        self._start_empty()
        POOLS.add(self)

    def _start_empty(self) -> None:
        """No connection yet; also in a forked child."""
        from rmqpool.pool_parts import (
            ConnectionScaling,
            ConsumeConnections,
            Figures,
            Looks,
            PublishConnections,
            refuse_publish,
        )

        self._figures = Figures(self._on_event, self.settings.connection_name or self.settings.redacted_url())
        self._looks = Looks()
        self._popped: PoolStats | None = None
        self._lock = threading.RLock()
        count, self._scaling = self._sizes["publish_connections"], None
        if self._autoscale_connections is not None:
            self._scaling = ConnectionScaling(self._autoscale_connections, count, self._figures.tell)
            count = self._scaling.count
        refuse = partial(refuse_publish, self._figures) if self._breaker is not None else None
        self._publish = PublishConnections(self._new_publish_connection, count, refuse)
        if self._scaling is not None:
            self._scaling.begin(self._publish)
        self._consume = ConsumeConnections(self._new_consume_link, self._sizes["consume_connections"])
        self._leases: ChannelLeases | None = None
        self._owner = os.getpid()

    # Life

    def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Open the publish connections; with ``wait`` until they are ready, at most ``timeout`` seconds.

        Raises AuthenticationError, VirtualHostNotFoundError, VirtualHostAccessError, TLSError at once when the broker does
        not let us in, PoolTimeoutError when it cannot be reached in time, and CircuitOpenError when the breaker opens before
        (the pool goes on trying), PoolClosedError.
        """
        self._publish.open()
        if wait:
            self.wait(timeout)

    def wait(self, timeout: float = 10.0) -> None:
        """Wait until every publish connection is ready; opens them first if need be. Errors as for :meth:`open`."""
        deadline = time.monotonic() + timeout
        self._publish.open()
        for link in self._publish.links:
            link.wait_ready(deadline)

    def close(self, timeout: float = 5.0) -> bool:
        """Wait for messages on their way and for replies, then close every connection, within ``timeout`` seconds; idempotent.

        Returns True if every message had its outcome and every thread ended in time. What is still open then ends as
        NotSentError or UnknownOutcomeError, calls as ReplyLostError; whoever waits for a channel gets PoolClosedError.
        """
        self.refuse_on_io_thread("close")
        deadline = time.monotonic() + timeout
        with self._lock:
            self._closed = True
            publishing = self._publish.close()
            consuming = self._consume.close()
            leases, self._leases = self._leases, None
        POOLS.discard(self)
        if leases is not None:
            leases.close()
        flush_until = deadline - min(1.0, timeout / 4)
        clean = [connection.close(flush_until) for connection in publishing]
        links = [*(connection.link for connection in publishing), *consuming, *([leases.link] if leases else [])]
        for link in links:
            link.close_soon()  # all at once, then wait for each
        ended = [link.close(max(0.1, deadline - time.monotonic())) for link in links]
        if publishing or consuming or leases:
            self._tell(PoolEventKind.POOL_CLOSED, "the pool is closed")
        return all(clean) and all(ended)

    def drain(self, timeout: float = 30.0) -> None:
        """Replace the publish connections and every leased channel: new ones open first, old ones end when they are quiet.

        Consumers keep their connection. Messages on their way are waited for at most ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._check_open()
            leases = self._leases
        if leases is not None:
            leases.drain()
        self._publish.replace(deadline)
        self._tell(PoolEventKind.DRAINED, "publish connections and leased channels are replaced")

    def resize(
        self,
        publish_connections: int | None = None,
        consume_connections: int | None = None,
        channels_per_connection: int | None = None,
    ) -> None:
        """Change sizes while running. Surplus publish connections end when they are quiet; consumers stay where they are."""
        sizes = {
            "publish_connections": publish_connections,
            "consume_connections": consume_connections,
            "channels_per_connection": channels_per_connection,
        }
        given = {name: whole_number(name, value) for name, value in sizes.items() if value is not None}
        if channels_per_connection is not None:
            channels_below(self.settings.channel_max, channels_per_connection)
        with self._lock:
            self._check_open()
            self._sizes.update(given)
            leases = self._leases
        if publish_connections is not None:
            self._publish.resize(publish_connections)
        self._consume.resize(self._sizes["consume_connections"])
        if leases is not None and channels_per_connection is not None:
            leases.resize(channels_per_connection)
        self._tell(PoolEventKind.RESIZED, ", ".join(f"{name}={value}" for name, value in self._sizes.items()))

    # What stands on the pool

    def channel(self, timeout: float | None = None) -> LeasedChannel:
        """Lease a channel within ``timeout`` seconds (default: the pool's); use it in a ``with`` block. 0: one that is free now.

        Callers are served first in, first out. Raises PoolTimeoutError with the numbers, TooManyWaitingError,
        PoolClosedError, CircuitOpenError, or why the broker does not let us in.
        """
        from rmqpool.pool_parts import LeasedChannel, refuse_to_wait

        leases = self._lease_side()
        if self._breaker is not None:
            refuse_to_wait(self._figures, leases.link)
        ticket = leases.acquire(self.timeout if timeout is None else seconds_or_now(timeout))
        try:
            return LeasedChannel(leases, ticket, self.timeout)
        except BaseException:  # KeyboardInterrupt: nobody will release it
            leases.interrupted(ticket)
            raise

    def declare(self, topology: Iterable[Topology], timeout: float | None = None) -> None:
        """Declare queues, exchanges and bindings now, and again on each new publish connection.

        Raises TopologyMismatchError with the differences if something exists otherwise: nothing is changed then.
        """
        items = tuple(topology)
        self.declare_once(items, timeout)
        with self._lock:
            self._declared.update(items)
        self._publish.declare_on_connect(items)

    def forget(self, topology: Iterable[Topology]) -> None:
        """Declare these no longer on new connections, unless somebody else asked for it too. Nothing is deleted."""
        with self._lock:
            self._declared.subtract(topology)
            gone = [item for item, count in self._declared.items() if count <= 0]
            for item in gone:
                del self._declared[item]
        self._publish.forget(gone)

    def declare_once(self, topology: Iterable[Topology], timeout: float | None = None) -> None:
        """Declare now, on a throw-away channel, and do not remember it."""
        from rmqpool.pool_parts import declare_now

        declare_now(self._lease_side().link, tuple(topology), self._timeout_or(timeout))

    def publishing(self) -> Publishing:
        """The publishing engine of the calling thread: always the same one, so that its messages keep their order.

        Raises PoolClosedError, PublishHeldBackError.
        """
        return self._publish.mine()

    def calling(self) -> Calling:
        """As :meth:`publishing`, for requests that wait for a reply."""
        return self._publish.calling()

    def flush(self, timeout: float) -> bool:
        """Wait until no message is on its way; False if some still were after ``timeout`` seconds."""
        self.refuse_on_io_thread("flush")
        return self._publish.flush(time.monotonic() + timeout)

    def consume_link(self) -> Link:
        """The consume connection with the fewest consumers; give it back with :meth:`release_consume_link`."""
        with self._lock:
            self._check_open()
            return self._consume.take()

    def release_consume_link(self, link: Link) -> None:
        """A consumer left its connection."""
        self._consume.release(link)

    def __enter__(self) -> ConnectionPool:
        try:
            self.open(wait=True)
        except BaseException:
            self.close(timeout=1.0)  # no __exit__ follows
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_closed", True) or getattr(self, "_owner", 0) != os.getpid():
            return
        links = [*self._publish.links, *self._consume.links, *([self._leases.link] if self._leases is not None else [])]
        if links:
            # Whichever thread collects the garbage may hold any lock: nothing is asked, and nothing waited for, here.
            warnings.warn(
                f"a ConnectionPool of {self.settings.redacted_url()} was dropped without close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            for link in links:
                link.close_soon()

    # Inside

    def _timeout_or(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else seconds("timeout", timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError("the pool is closed: open a new one")

    def _lease_side(self) -> ChannelLeases:
        from rmqpool.pool_parts import ChannelLeases, LeaseScaling

        with self._lock:
            self._check_open()
            if self._leases is None:
                link = self._new_link("lease")
                link.start()
                self._leases = ChannelLeases(
                    link,
                    self._sizes["channels_per_connection"],
                    self._max_waiting,
                    self._max_idle,
                    self._max_lifetime,
                    leak_after=self._leak_after,
                    figures=self._figures,
                )
                if self._autoscale is not None:
                    LeaseScaling(self._leases, self._autoscale, self._figures.tell)
            return self._leases

    def _new_link(self, role: str) -> Link:
        from rmqpool.pool_parts import Link, Purpose, SharedBreaker

        client = self.settings.connection_name or f"rmqpool@{socket.gethostname()}:{os.getpid()}"
        name = f"{client}:{role}-{next(_SERIALS)}"
        heard = self._figures.heard  # a link must not hold its pool: a pool that is dropped is to be noticed
        shared = None if self._breaker is None else SharedBreaker(self._breaker, is_patient=role == "consume")
        link = Link(
            self.settings, name, lambda event, _, text: heard(link, event, text), purpose=Purpose(role), breaker=shared
        )
        return link

    def _new_publish_connection(self) -> PublishConnection:
        from rmqpool.pool_parts import PublishConnection, Publishing

        link = self._new_link("publish")
        publishing = Publishing(link, self._window, self._window_bytes)
        publishing.declare_on_connect(tuple(self._declared))
        link.attach(publishing)
        link.start()
        if self._scaling is not None:
            self._scaling.watch(link)
        lifetime = self._max_lifetime * (1.0 - 0.1 * random.random())
        return PublishConnection(link, publishing, time.monotonic() + lifetime)

    def _new_consume_link(self) -> Link:
        link = self._new_link("consume")
        link.start()
        return link

    def after_fork_in_child(self) -> None:
        """In a forked child: the parent's connections are not ours, and this pool opens its own."""
        publish, consume, leases = self._publish, self._consume, self._leases
        self._start_empty()
        publish.abandon_after_fork()
        consume.abandon_after_fork()
        if leases is not None:
            leases.abandon_after_fork()
            leases.link.abandon_after_fork()
        INHERITED.append((publish, consume, leases))
