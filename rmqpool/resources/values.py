"""What a resource pool is told and what it tells: its options, checked, and its figures. Frozen, no rule in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rmqpool.callables import plain_function
from rmqpool.core.backoff import Backoff
from rmqpool.core.histogram import Times
from rmqpool.core.ledger import Snapshot
from rmqpool.errors import ConfigurationError
from rmqpool.pool_events import EventListener
from rmqpool.pool_options import circuit_breaker, seconds, whole_number

if TYPE_CHECKING:
    from rmqpool.breaker import Breaker

__all__ = ["Counters", "ResourceOptions", "ResourceStats", "stats_of"]


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
    breaker: Breaker | None
    name: str
    on_event: EventListener | None

    def __post_init__(self) -> None:
        whole_number("max_size", self.max_size)
        whole_number("workers", self.workers)
        for name in ("min_size", "max_waiting", "growth"):
            whole_number(name, getattr(self, name), least=0)
        for name in ("timeout", "max_lifetime", "max_idle", "check_timeout", "open_timeout", "reconnect_timeout"):
            object.__setattr__(self, name, seconds(name, getattr(self, name)))
        if self.check_after_idle:  # 0: before each use
            object.__setattr__(self, "check_after_idle", seconds("check_after_idle", self.check_after_idle))
        if self.leak_after is not None:
            object.__setattr__(self, "leak_after", seconds("leak_after", self.leak_after))
        if not isinstance(self.backoff, Backoff):
            raise ConfigurationError(f"backoff is {self.backoff!r}; give a Backoff, as Backoff(0.1, 10.0)")
        circuit_breaker(self.breaker)
        if self.on_event is not None:
            plain_function("on_event", self.on_event)


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since the pool was made; in what :meth:`pop_stats` gives, since its last call.

    ``requests`` is all calls for a resource; ``queued`` those that had to wait; ``given_back`` were
    granted when their caller had just left. ``lost`` resources were found dead: their check or reset failed, or they came back
    as not reusable; ``thrown_away`` counts all that left the pool. ``leaked`` leases were overdue at some time. ``away``: of
    those that timed out or were refused, how many while opening failed.
    """

    requests: int = 0
    granted: int = 0
    queued: int = 0
    timed_out: int = 0
    cancelled: int = 0
    refused: int = 0
    given_back: int = 0
    opened: int = 0
    open_failures: int = 0
    reconnects_failed: int = 0
    checks_failed: int = 0
    lost: int = 0
    thrown_away: int = 0
    leaked: int = 0
    away: int = 0

    def minus(self, other: Counters) -> Counters:
        """What was counted since ``other``."""
        names = [one.name for one in fields(self)]
        return replace(self, **{name: getattr(self, name) - getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True)
class ResourceStats:
    """The figures of one moment; times are seconds, 0.0 where there is none.

    ``size`` is all that are open: leased, idle and tended (being checked or reset by the pool). ``longest_lease`` and
    ``longest_wait`` last still; ``overdue`` leases last longer than ``leak_after``. ``failures_in_a_row`` counts opens that
    failed since the last that succeeded; above 0 the pool cannot open. Since the pool was made: ``counters``; ``errors`` of
    opening, checking, resetting, closing and of callers, by the name of their class; ``wait_time`` of those that got a resource
    (of most, none), ``use_time`` of leases that are over, and ``create_time`` of opens that succeeded.
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
    longest_lease: float
    longest_wait: float
    failures_in_a_row: int
    closed: bool
    counters: Counters
    overdue: int = 0
    errors: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    wait_time: Times = field(default_factory=Times)
    use_time: Times = field(default_factory=Times)
    create_time: Times = field(default_factory=Times)

    def since(self, earlier: ResourceStats | None) -> ResourceStats:
        """What grows, counted from ``earlier``; the rest as it is."""
        if earlier is None:
            return self
        errors = {kind: count - earlier.errors.get(kind, 0) for kind, count in self.errors.items()}
        return replace(
            self,
            counters=self.counters.minus(earlier.counters),
            errors=MappingProxyType({kind: count for kind, count in errors.items() if count > 0}),
            wait_time=self.wait_time.since(earlier.wait_time),
            use_time=self.use_time.since(earlier.use_time),
            create_time=self.create_time.since(earlier.create_time),
        )

    def summary(self) -> str:
        """The numbers in one line, for errors and repr."""
        parts = [f"{self.leased} of {self.max_size} leased", f"{self.idle} idle"]
        if self.tended:
            parts.append(f"{self.tended} being checked or reset")
        parts += [f"{self.opening} opening", f"{self.waiting} waiting"]
        if self.failures_in_a_row:
            parts.append(f"{self.failures_in_a_row} opens failed in a row")
        if self.overdue:
            parts.append(f"{self.overdue} held for too long")
        return ", ".join(parts)


def stats_of(name: str, snapshot: Snapshot, counters: Counters, **more: Any) -> ResourceStats:
    """From the ledger's snapshot to what users see; ``more`` are the other fields of :class:`ResourceStats`."""
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
        longest_lease=snapshot.oldest_lease,
        longest_wait=snapshot.oldest_waiter,
        failures_in_a_row=snapshot.failures_in_a_row,
        closed=snapshot.closed,
        counters=counters,
        **more,
    )
