"""The figures of a pool at one moment: frozen values, nothing that changes under the reader.

Numbers that only grow are counted since the pool was made; ``since`` gives what came after an earlier value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, TypeVar

from rmqpool.amqp.link import LinkState, LinkStatus
from rmqpool.core.histogram import Times
from rmqpool.lease_figures import LeaseFigures
from rmqpool.pool_figures import Counts

__all__ = ["ChannelStats", "PoolStats", "channel_stats", "pool_stats"]

S = TypeVar("S", "ChannelStats", "PoolStats")


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Leased channels: how many, and for how long (seconds).

    Of this moment: ``capacity``, ``leased``, ``idle``, ``opening``, ``waiting`` callers and the bound on them, the
    ``longest_lease`` and the ``longest_wait``, ``overdue`` leases (longer than ``leak_after``). Counted: ``granted``,
    ``timed_out`` and ``refused`` acquires, channels ``opened`` and ``thrown_away``, ``leaked`` leases (they were overdue at
    some time), ``dropped`` ones (never released), acquires that got nothing with the
    connection ``away`` or blocked. Times: waiting for a channel, holding it, opening one.
    """

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
    refused: int = 0
    max_waiting: int = 0
    overdue: int = 0
    leaked: int = 0
    dropped: int = 0
    away: int = 0
    wait_time: Times = field(default_factory=Times)
    use_time: Times = field(default_factory=Times)
    create_time: Times = field(default_factory=Times)

    def since(self, earlier: ChannelStats | None) -> ChannelStats:
        """What grows, counted from ``earlier``; the rest as it is."""
        counted = ("granted", "timed_out", "opened", "thrown_away", "refused", "leaked", "dropped", "away")
        return self if earlier is None else _since(self, earlier, counted, ("wait_time", "use_time", "create_time"))


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Everything :meth:`ConnectionPool.stats` tells.

    Of this moment: every connection; ``unsettled`` messages have no outcome yet, ``unconfirmed`` ones of them were
    written; ``window`` is how many may be without an outcome. Counted: ``late_replies`` came when their call had ended
    already, and were dropped; ``connects`` and ``reconnects``, over connections that are gone, too; ``errors`` of
    connecting, connections, channels and acquires by the name of their class; ``blocked_seconds`` of all connections.
    ``connect_time``: opening a connection, in seconds.
    """

    publish: tuple[LinkStatus, ...]
    consume: tuple[LinkStatus, ...]
    lease: LinkStatus | None
    channels: ChannelStats | None
    unsettled: int
    unconfirmed: int
    late_replies: int = 0
    window: int = 0
    connects: int = 0
    reconnects: int = 0
    errors: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    blocked_seconds: float = 0.0
    connect_time: Times = field(default_factory=Times)

    @property
    def connections(self) -> tuple[LinkStatus, ...]:
        """Every connection of the pool."""
        return (*self.publish, *self.consume, *((self.lease,) if self.lease else ()))

    @property
    def blocked(self) -> str | None:
        """The broker's reason, if it blocks one of the connections."""
        return next((connection.blocked for connection in self.connections if connection.blocked), None)

    def since(self, earlier: PoolStats | None) -> PoolStats:
        """What grows, counted from ``earlier``; the rest as it is. Of the connections everything stays as it is."""
        if earlier is None:
            return self
        errors = {kind: count - earlier.errors.get(kind, 0) for kind, count in self.errors.items()}
        return replace(
            _since(self, earlier, ("late_replies", "connects", "reconnects", "blocked_seconds"), ("connect_time",)),
            channels=self.channels and self.channels.since(earlier.channels),
            errors=MappingProxyType({kind: count for kind, count in errors.items() if count > 0}),
        )

    def summary(self) -> str:
        """One line for a repr."""
        ready = sum(1 for connection in self.connections if connection.state is LinkState.READY)
        parts = [f"{ready} of {len(self.connections)} connections ready"]
        if self.channels is not None:
            parts.append(
                f"{self.channels.leased} of {self.channels.capacity} channels leased, {self.channels.waiting} waiting"
            )
            if self.channels.overdue:
                parts.append(f"{self.channels.overdue} held for too long")
        parts.append(f"{self.unsettled} messages on their way")
        if self.blocked:
            parts.append(f"blocked: {self.blocked}")
        return ", ".join(parts)


def channel_stats(figures: LeaseFigures) -> ChannelStats:
    """From the figures of the leases to what users see."""
    ledger, totals = figures.ledger, figures.ledger.totals
    return ChannelStats(
        capacity=ledger.capacity,
        leased=ledger.leased,
        idle=ledger.idle,
        opening=ledger.opening,
        waiting=ledger.waiting,
        longest_lease=ledger.oldest_lease,
        longest_wait=ledger.oldest_waiter,
        granted=totals.granted,
        timed_out=totals.timed_out,
        opened=totals.opened,
        thrown_away=totals.discarded + totals.lost,
        refused=totals.refused,
        max_waiting=ledger.max_waiting,
        overdue=figures.overdue,
        leaked=figures.leaked,
        dropped=figures.dropped,
        away=figures.away,
        wait_time=figures.wait_time,
        use_time=figures.use_time,
        create_time=figures.create_time,
    )


def pool_stats(counts: Counts, **moment: Any) -> PoolStats:
    """The pool's own counts, with what is so at this ``moment``: the other fields of :class:`PoolStats`."""
    return PoolStats(**{name.name: getattr(counts, name.name) for name in fields(counts)}, **moment)


def _since(now: S, earlier: S, counted: tuple[str, ...], timed: tuple[str, ...]) -> S:
    numbers = {name: max(0, getattr(now, name) - getattr(earlier, name)) for name in counted}
    times = {name: getattr(now, name).since(getattr(earlier, name)) for name in timed}
    return replace(now, **numbers, **times)
