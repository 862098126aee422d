"""Figures of pools for Prometheus, read when they are asked for. Needs the extra ``metrics`` (prometheus-client).

Names follow OpenTelemetry's ``db.client.connection.*``, with a leased channel in the place of a database connection
(https://opentelemetry.io/docs/specs/semconv/database/database-metrics/).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rmqpool.amqp.link import LinkState
from rmqpool.core.histogram import Times
from rmqpool.errors import ConfigurationError
from rmqpool.pool import ConnectionPool
from rmqpool.pool_manager import PoolManager
from rmqpool.pool_stats import ChannelStats, PoolStats
from rmqpool.resources import AsyncResourcePool, ResourcePool, ResourceStats
from rmqpool.resources.reading import read_stats

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.core import Metric as Family
    from prometheus_client.registry import Collector
except ImportError as missing:
    raise ConfigurationError("PoolMetrics needs prometheus-client: pip install 'rmqpool[metrics]'") from missing

__all__ = ["PoolMetrics"]

_POOL = ("pool",)
AnyPool = ConnectionPool | PoolManager | ResourcePool[Any] | AsyncResourcePool[Any]
_POOLS = (ConnectionPool, PoolManager, ResourcePool, AsyncResourcePool)


class PoolMetrics:
    """Tells a registry the figures of pools, each under a name: ``PoolMetrics().add("orders", pool)``. Thread-safe.

    Pools are :class:`rmqpool.ConnectionPool`, :class:`rmqpool.ResourcePool`, :class:`rmqpool.AsyncResourcePool` (asked on its
    loop) and :class:`rmqpool.PoolManager`, which tells each tenant as ``name/tenant``. Costs nothing until somebody reads the
    registry. Pools are not kept alive, and those that are closed are told no more. ``close`` takes what it has added out of the
    registry. Several on one registry tell together: no name and no family of figures is told twice.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._added: dict[str, weakref.ref[AnyPool]] = {}
        with _LOCK:
            collector = _COLLECTORS.get(registry)
            if collector is None:
                collector = _COLLECTORS[registry] = _Pools()
                registry.register(collector)
            self._pools = collector

    def add(self, name: str, pool: AnyPool) -> None:
        """Tell of this pool from now on. Raises ConfigurationError for the name of another living pool, and for what is none."""
        if not isinstance(pool, _POOLS):
            raise ConfigurationError(
                f"PoolMetrics: {name!r} is {pool!r}; give a pool (of circuit breakers tells BreakerMetrics().add(breaker))"
            )
        self._added[name] = self._pools.add(name, pool)

    def close(self) -> None:
        """Tell nothing more."""
        self._pools.forget(self._added)
        self._added = {}


class _Pools(Collector):
    """The pools of one registry, by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[str, weakref.ref[AnyPool]] = {}

    def add(self, name: str, pool: AnyPool) -> weakref.ref[AnyPool]:
        """Raises ConfigurationError when the name is another living pool's."""
        with self._lock:
            known = self._watched.get(name)
            if known is not None and known() not in (None, pool):
                raise ConfigurationError(f"a pool named {name!r} is told already: give each its own name")
            self._watched[name] = weakref.ref(pool)
            return self._watched[name]

    def forget(self, added: Mapping[str, weakref.ref[AnyPool]]) -> None:
        """Those that are another pool's by now stay."""
        with self._lock:
            self._watched = {name: pool for name, pool in self._watched.items() if added.get(name) is not pool}

    def describe(self) -> Iterable[Family]:
        """Nothing is read when it is registered."""
        return ()

    def collect(self) -> Iterator[Family]:
        """What prometheus-client calls."""
        families = _Families()
        for name, stats in self._read().items():
            if isinstance(stats, ResourceStats):
                families.resources(name, stats)
                continue
            families.pool(name, stats)
            if stats.channels is not None:
                families.channels(name, stats.channels)
        yield from (family for family in families.all if family.samples)

    def _read(self) -> Mapping[str, PoolStats | ResourceStats]:
        with self._lock:
            watched = [(name, reference()) for name, reference in self._watched.items()]
            self._watched = {name: self._watched[name] for name, pool in watched if pool is not None}
        read: dict[str, PoolStats | ResourceStats] = {}
        for name, pool in watched:
            if isinstance(pool, PoolManager):
                tenants = pool.stats().tenants.items()
                read |= {f"{name}/{tenant}": told.pool for tenant, told in tenants if told.pool is not None}
            elif pool is not None and not pool.closed:
                stats = pool.stats() if isinstance(pool, ConnectionPool) else read_stats(pool)
                if stats is not None:
                    read[name] = stats
        return read


class _Families:
    """One family of samples for each figure."""

    def __init__(self) -> None:
        self.all: list[Family] = []
        self._channels = self._gauge("channel_count", "Leased channels, by state", ("pool", "state"))
        self._max = self._gauge("channel_max", "Channels that may be open")
        self._pending = self._gauge("channel_pending_requests", "Callers that wait for a channel")
        self._overdue = self._gauge("channel_overdue", "Channels that are held for longer than leak_after")
        self._timeouts = self._counter("channel_timeouts", "Callers that got no channel in time")
        self._refused = self._counter("channel_refusals", "Callers that were refused: too many waited, or no way in")
        self._leaked = self._counter("channel_leaks", "Leases held for too long, or dropped", ("pool", "kind"))
        self._wait = self._histogram("channel_wait_time_seconds", "Waiting for a channel")
        self._use = self._histogram("channel_use_time_seconds", "Holding a channel")
        self._create = self._histogram("channel_create_time_seconds", "Opening a channel")
        self._connections = self._gauge("connection_count", "Connections, by state", ("pool", "state"))
        self._connect = self._histogram("connection_create_time_seconds", "Opening a connection")
        self._reconnects = self._counter("connection_reconnects", "Connections that were opened again")
        self._blocked = self._counter("connection_blocked_seconds", "Seconds that the broker blocked connections")
        self._errors = self._counter("pool_errors", "Errors, by their class", ("pool", "type"))
        self._unsettled = self._gauge("unsettled_messages", "Messages without an outcome")

        self._resources = self._gauge("resource_count", "Resources, by state", ("pool", "state"))
        self._size = self._gauge("resource_max", "Resources that may be open")
        self._minimum = self._gauge("resource_min", "Resources that are kept open")
        self._waiting = self._gauge("resource_pending_requests", "Callers that wait for a resource")
        self._lasting = self._gauge("resource_overdue", "Resources that are held for longer than leak_after")
        self._given_up = self._counter("resource_timeouts", "Callers that got no resource in time")
        self._turned_away = self._counter("resource_refusals", "Callers that were refused: too many waited")
        self._leaks = self._counter("resource_leaks", "Leases held for too long", ("pool", "kind"))
        self._lost = self._counter("resource_lost", "Resources that were found dead, or came back broken")
        self._not_opened = self._counter("resource_open_failures", "Opens that failed")
        self._waited = self._histogram("resource_wait_time_seconds", "Waiting for a resource")
        self._used = self._histogram("resource_use_time_seconds", "Holding a resource")
        self._opened = self._histogram("resource_create_time_seconds", "Opening a resource")

    def resources(self, name: str, stats: ResourceStats) -> None:
        states = (("used", stats.leased), ("idle", stats.idle), ("tended", stats.tended), ("opening", stats.opening))
        for state, count in states:
            self._resources.add_metric((name, state), count)
        self._size.add_metric((name,), stats.max_size)
        self._minimum.add_metric((name,), stats.min_size)
        self._waiting.add_metric((name,), stats.waiting)
        self._lasting.add_metric((name,), stats.overdue)
        self._given_up.add_metric((name,), stats.counters.timed_out)
        self._turned_away.add_metric((name,), stats.counters.refused)
        self._leaks.add_metric((name, "overdue"), stats.counters.leaked)
        self._lost.add_metric((name,), stats.counters.lost)
        self._not_opened.add_metric((name,), stats.counters.open_failures)
        for kind, count in sorted(stats.errors.items()):
            self._errors.add_metric((name, kind), count)
        _add(self._waited, name, stats.wait_time)
        _add(self._used, name, stats.use_time)
        _add(self._opened, name, stats.create_time)

    def pool(self, name: str, stats: PoolStats) -> None:
        ready = sum(connection.state is LinkState.READY for connection in stats.connections)
        blocked = sum(connection.blocked is not None for connection in stats.connections)
        for state, count in (("ready", ready), ("unready", len(stats.connections) - ready), ("blocked", blocked)):
            self._connections.add_metric((name, state), count)
        _add(self._connect, name, stats.connect_time)
        self._reconnects.add_metric((name,), stats.reconnects)
        self._blocked.add_metric((name,), stats.blocked_seconds)
        for kind, count in sorted(stats.errors.items()):
            self._errors.add_metric((name, kind), count)
        self._unsettled.add_metric((name,), stats.unsettled)

    def channels(self, name: str, stats: ChannelStats) -> None:
        for state, count in (("used", stats.leased), ("idle", stats.idle), ("opening", stats.opening)):
            self._channels.add_metric((name, state), count)
        self._max.add_metric((name,), stats.capacity)
        self._pending.add_metric((name,), stats.waiting)
        self._overdue.add_metric((name,), stats.overdue)
        self._timeouts.add_metric((name,), stats.timed_out)
        self._refused.add_metric((name,), stats.refused)
        for kind, count in (("overdue", stats.leaked), ("dropped", stats.dropped)):
            self._leaked.add_metric((name, kind), count)
        for family, times in (
            (self._wait, stats.wait_time),
            (self._use, stats.use_time),
            (self._create, stats.create_time),
        ):
            _add(family, name, times)

    def _gauge(self, name: str, about: str, labels: tuple[str, ...] = _POOL) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"rmqpool_{name}", about, labels=labels)
        self.all.append(family)
        return family

    def _counter(self, name: str, about: str, labels: tuple[str, ...] = _POOL) -> CounterMetricFamily:
        family = CounterMetricFamily(f"rmqpool_{name}", about, labels=labels)
        self.all.append(family)
        return family

    def _histogram(self, name: str, about: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(f"rmqpool_{name}", about, labels=_POOL)
        self.all.append(family)
        return family


def _add(family: HistogramMetricFamily, name: str, times: Times) -> None:
    buckets = [("+Inf" if bound == float("inf") else str(bound), count) for bound, count in times.cumulative()]
    family.add_metric((name,), buckets, times.total)


_LOCK = threading.Lock()
_COLLECTORS: weakref.WeakKeyDictionary[CollectorRegistry, _Pools] = weakref.WeakKeyDictionary()
