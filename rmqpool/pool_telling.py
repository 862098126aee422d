"""What a pool tells of itself: its figures, whether it works, and how it is doing. Nothing here changes it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rmqpool.amqp.io_thread import IOThread
from rmqpool.errors import ConfigurationError
from rmqpool.pool_events import PoolEventKind
from rmqpool.pool_options import seconds
from rmqpool.settings import ConnectionSettings

if TYPE_CHECKING:
    from rmqpool.core.verdict import PoolHealth
    from rmqpool.pool_parts import ChannelLeases, ConsumeConnections, Figures, Looks, PoolStats, PublishConnections

__all__ = ["PoolTelling"]


class PoolTelling:
    """The base of ``ConnectionPool``, which sets all these."""

    settings: ConnectionSettings
    timeout: float
    _closed: bool
    _consume: ConsumeConnections
    _figures: Figures
    _leases: ChannelLeases | None
    _lock: threading.RLock
    _looks: Looks
    _owner: int
    _popped: PoolStats | None
    _publish: PublishConnections
    _sizes: dict[str, int]
    _window: int

    @property
    def owner(self) -> int:
        """The process whose connections these are: another one after a fork."""
        return self._owner

    @property
    def closed(self) -> bool:
        """True once :meth:`close` was called."""
        return self._closed

    @property
    def broker_generation(self) -> int | None:
        """The broker's major version, None until a connection told it."""
        return self._publish.broker_generation()

    def stats(self) -> PoolStats:
        """Every connection, the leased channels and the messages on their way, at this moment, and all counts so far."""
        from rmqpool.pool_parts import channel_stats, pool_stats

        leases = self._leases
        return pool_stats(
            self._figures.counts(),
            publish=self._publish.statuses(),
            consume=self._consume.statuses(),
            lease=leases.link.status() if leases else None,
            channels=channel_stats(leases.figures()) if leases else None,
            unsettled=self._publish.unsettled(),
            unconfirmed=self._publish.unconfirmed(),
            late_replies=self._publish.late_replies(),
            window=self._window * self._sizes["publish_connections"],
        )

    def pop_stats(self) -> PoolStats:
        """As :meth:`stats`, with counts and times since the last call of this; :meth:`stats` goes on counting."""
        with self._lock:
            now = self.stats()
            before, self._popped = self._popped, now
        return now.since(before)

    def check(self, timeout: float = 5.0) -> float:
        """Ask the broker something on every connection, and wait; the longest answer took so many seconds.

        A connection that the broker blocks is passed over. Opens the pool. Raises as :meth:`open` does, and
        CallTimeoutError when a connection does not answer within ``timeout`` seconds in all.
        """
        from rmqpool.pool_parts import round_trip

        self.refuse_on_io_thread("check")
        deadline = time.monotonic() + seconds("timeout", timeout)
        self._publish.open()
        leases = self._leases
        return round_trip([*self._publish.links, *self._consume.links, *([leases.link] if leases else [])], deadline)

    def health(self) -> PoolHealth:
        """How the pool is doing, why, and what to do, from its figures: asks nobody, returns at once. See ``ready`` of it.

        Counts are looked at since an earlier call that is 30 seconds ago or more, or since the pool was made.
        """
        return self._looks.judge(self.stats(), self._closed, self.timeout)

    def __repr__(self) -> str:
        if self._closed:
            return f"<ConnectionPool {self.settings.redacted_url()} closed>"
        return f"<ConnectionPool {self.settings.redacted_url()} {self.stats().summary()}>"

    def refuse_on_io_thread(self, what: str) -> None:
        """Waiting on an I/O thread (in a callback) would wait for that thread itself. Raises ConfigurationError."""
        if IOThread.is_any_current():
            raise ConfigurationError(
                f"{what}() inside a callback would wait for the thread that runs the callback: use submit() there, or hand "
                "over to a thread of your own"
            )

    def _tell(self, kind: PoolEventKind, sentence: str) -> None:
        self._figures.tell(kind, "", sentence)
