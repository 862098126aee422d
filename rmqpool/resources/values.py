"""What a resource pool is told and what it tells: its options, checked, its events and its figures. Frozen, no rule in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum

from rmqpool.core.backoff import Backoff
from rmqpool.core.histogram import Times
from rmqpool.core.ledger import Snapshot
from rmqpool.errors import ConfigurationError
from rmqpool.pool_options import seconds, whole_number

__all__ = ["Counters", "ResourceEvent", "ResourceEventKind", "ResourceOptions", "ResourceStats", "stats_of"]


class ResourceEventKind(Enum):
    """What an event of a resource pool tells."""

    POOL_OPENED = "pool opened"
    POOL_CLOSED = "pool closed"
    OPENED = "opened"
    OPEN_FAILED = "open failed"
    RECONNECT_FAILED = "reconnect failed"
    """Opening failed for ``reconnect_timeout`` seconds without a success: whoever waited was told; the pool goes on."""
    CLOSED = "closed"
    CLOSE_FAILED = "close failed"
    CHECK_FAILED = "check failed"
    RESET_FAILED = "reset failed"
    TIMED_OUT = "timed out"
    REFUSED = "refused"
    RESIZED = "resized"
    DRAINED = "drained"
    LEASE_OVERDUE = "lease overdue"
    """A lease lasts longer than ``leak_after``."""
    LEASE_RETURNED = "lease returned"
    """One that was overdue came back after all."""


@dataclass(frozen=True, slots=True)
class ResourceEvent:
    """Something changed. ``pool`` is its name, ``sentence`` says what happened, ``error`` why, if something failed."""

    kind: ResourceEventKind
    pool: str
    sentence: str
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class ResourceOptions:
    """The arguments of a resource pool, checked. For what they mean see :class:`rmqpool.ResourcePool`."""

    min_size: int
    max_size: int
    timeout: float
    max_waiting: int
    max_lifetime: float
    max_idle: float
    check_after_idle: float
    check_timeout: float
    open_timeout: float
    order: str
    growth: int
    keep_idle: bool
    backoff: Backoff
    reconnect_timeout: float
    workers: int
    leak_after: float | None
    name: str
    on_event: Callable[[ResourceEvent], object] | None

    def __post_init__(self) -> None:
        whole_number("max_size", self.max_size)
        whole_number("workers", self.workers)
        for name in ("min_size", "max_waiting", "growth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigurationError(f"{name} is {value!r}; give a whole number, 0 or more")
        for name in ("timeout", "max_lifetime", "max_idle", "check_timeout", "open_timeout", "reconnect_timeout"):
            object.__setattr__(self, name, seconds(name, getattr(self, name)))
        if self.check_after_idle:  # 0: before each use
            object.__setattr__(self, "check_after_idle", seconds("check_after_idle", self.check_after_idle))
        if self.leak_after is not None:
            object.__setattr__(self, "leak_after", seconds("leak_after", self.leak_after))
        if not isinstance(self.backoff, Backoff):
            raise ConfigurationError(f"backoff is {self.backoff!r}; give a Backoff, as Backoff(0.1, 10.0)")


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since the pool was made, or since :meth:`pop_stats` was called last. Times are seconds, summed up.

    ``requests`` is all calls for a resource; ``queued`` those that had to wait; ``given_back`` were
    granted when their caller had just left. ``used_seconds`` is what returned leases held. ``lost`` are those whose check or
    reset failed, ``discarded`` all that were closed.
    """

    requests: int = 0
    granted: int = 0
    queued: int = 0
    timed_out: int = 0
    cancelled: int = 0
    refused: int = 0
    given_back: int = 0
    used_seconds: float = 0.0
    opened: int = 0
    open_failures: int = 0
    reconnects_failed: int = 0
    checks_failed: int = 0
    discarded: int = 0

    def minus(self, other: Counters) -> Counters:
        """What was counted since ``other``."""
        names = [field.name for field in fields(self)]
        return replace(self, **{name: getattr(self, name) - getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True)
class ResourceStats:
    """The figures of one moment; ages are seconds, 0.0 where there is none.

    ``size`` is all that are open: leased, idle and tended (being checked or reset by the pool). ``failures_in_a_row`` counts
    opens that failed since the last that succeeded; above 0 the pool cannot open. ``counters``, ``waits`` (how long those waited
    that had to, whatever came of it) and ``opens`` (how long successful opens took) begin anew with :meth:`pop_stats`.
    """

    name: str
    min_size: int
    max_size: int
    size: int
    leased: int
    idle: int
    tended: int
    opening: int
    waiting: int
    max_waiting: int
    oldest_lease: float
    oldest_waiter: float
    failures_in_a_row: int
    closed: bool
    counters: Counters
    waits: Times
    opens: Times

    def summary(self) -> str:
        """The numbers in one line, for errors and repr."""
        parts = [f"{self.leased} of {self.max_size} leased", f"{self.idle} idle"]
        if self.tended:
            parts.append(f"{self.tended} being checked or reset")
        parts += [f"{self.opening} opening", f"{self.waiting} waiting"]
        if self.failures_in_a_row:
            parts.append(f"{self.failures_in_a_row} opens failed in a row")
        return ", ".join(parts)


def stats_of(name: str, snapshot: Snapshot, counters: Counters, waits: Times, opens: Times) -> ResourceStats:
    """From the ledger's snapshot to what users see."""
    return ResourceStats(
        name=name,
        min_size=snapshot.minimum,
        max_size=snapshot.capacity,
        size=snapshot.leased + snapshot.idle + snapshot.tended,
        leased=snapshot.leased,
        idle=snapshot.idle,
        tended=snapshot.tended,
        opening=snapshot.opening,
        waiting=snapshot.waiting,
        max_waiting=snapshot.max_waiting,
        oldest_lease=snapshot.oldest_lease,
        oldest_waiter=snapshot.oldest_waiter,
        failures_in_a_row=snapshot.failures_in_a_row,
        closed=snapshot.closed,
        counters=counters,
        waits=waits,
        opens=opens,
    )
