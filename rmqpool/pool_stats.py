"""The figures of a pool at one moment: frozen values, nothing that changes under the reader."""

from __future__ import annotations

from dataclasses import dataclass

from rmqpool.amqp.link import LinkState, LinkStatus
from rmqpool.core.ledger import Snapshot

__all__ = ["ChannelStats", "PoolStats", "channel_stats"]


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Leased channels: how many, and for how long (seconds)."""

    capacity: int
    leased: int
    idle: int
    opening: int
    waiting: int
    longest_lease: float
    longest_wait: float
    granted: int
    timed_out: int
    opened: int
    thrown_away: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Everything :meth:`ConnectionPool.stats` tells.

    ``unsettled`` messages have no outcome yet; ``unconfirmed`` ones of them were written. ``late_replies`` came when their
    call had ended already, and were dropped.
    """

    publish: tuple[LinkStatus, ...]
    consume: tuple[LinkStatus, ...]
    lease: LinkStatus | None
    channels: ChannelStats | None
    unsettled: int
    unconfirmed: int
    late_replies: int = 0

    @property
    def connections(self) -> tuple[LinkStatus, ...]:
        """Every connection of the pool."""
        return (*self.publish, *self.consume, *((self.lease,) if self.lease else ()))

    @property
    def reconnects(self) -> int:
        """How often a connection had to be opened again."""
        return sum(max(0, connection.epoch - 1) for connection in self.connections)

    @property
    def blocked(self) -> str | None:
        """The broker's reason, if it blocks one of the connections."""
        return next((connection.blocked for connection in self.connections if connection.blocked), None)

    def summary(self) -> str:
        """One line for a repr."""
        ready = sum(1 for connection in self.connections if connection.state is LinkState.READY)
        parts = [f"{ready} of {len(self.connections)} connections ready"]
        if self.channels is not None:
            parts.append(
                f"{self.channels.leased} of {self.channels.capacity} channels leased, {self.channels.waiting} waiting"
            )
        parts.append(f"{self.unsettled} messages on their way")
        if self.blocked:
            parts.append(f"blocked: {self.blocked}")
        return ", ".join(parts)


def channel_stats(snapshot: Snapshot) -> ChannelStats:
    """From the ledger's snapshot to what users see."""
    return ChannelStats(
        capacity=snapshot.capacity,
        leased=snapshot.leased,
        idle=snapshot.idle,
        opening=snapshot.opening,
        waiting=snapshot.waiting,
        longest_lease=snapshot.oldest_lease,
        longest_wait=snapshot.oldest_waiter,
        granted=snapshot.totals.granted,
        timed_out=snapshot.totals.timed_out,
        opened=snapshot.totals.opened,
        thrown_away=snapshot.totals.discarded + snapshot.totals.lost,
    )
