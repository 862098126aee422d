"""Figures of pools and circuit breakers for OpenTelemetry, read when they are collected. Needs the extra ``tracing``."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from rmqpool.breaker import Breaker
from rmqpool.core.histogram import BOUNDS, Times
from rmqpool.core.histogram_values import values_of
from rmqpool.errors import ConfigurationError
from rmqpool.middlewares.circuit_breaker import CircuitBreaker
from rmqpool.middlewares.open_telemetry_series import (
    COUNTERS,
    GAUGES,
    TIMES,
    Attributes,
    Reading,
    breaker_reading,
    pool_reading,
    resource_reading,
)
from rmqpool.pool import ConnectionPool
from rmqpool.pool_manager import PoolManager
from rmqpool.pool_options import whole_number
from rmqpool.resources import AsyncResourcePool, ResourcePool
from rmqpool.resources.reading import read_stats
from rmqpool.version import __version__

try:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
except ImportError as missing:
    raise ConfigurationError(
        "OpenTelemetryMetrics needs opentelemetry-api: pip install 'rmqpool[tracing]'"
    ) from missing

__all__ = ["OTHER_TENANTS", "OpenTelemetryMetrics"]

OTHER_TENANTS = "_other"
"""Stands for all tenants beyond ``max_tenants``."""

_LOGGER = logging.getLogger("rmqpool")
Watched = ConnectionPool | PoolManager | ResourcePool[Any] | AsyncResourcePool[Any] | Breaker | CircuitBreaker
_WATCHED = (ConnectionPool, PoolManager, ResourcePool, AsyncResourcePool, Breaker, CircuitBreaker)


class OpenTelemetryMetrics:
    """Tells OpenTelemetry the figures of pools, and of circuit breakers: ``OpenTelemetryMetrics().add("orders", pool)``.

    ``meter_provider`` is the one that your service has set up, by default. Pools are :class:`rmqpool.ConnectionPool`,
    :class:`rmqpool.ResourcePool`, :class:`rmqpool.AsyncResourcePool` (asked on its loop) and :class:`rmqpool.PoolManager`: of its
    tenants ``max_tenants`` are told apart by the attribute ``rmqpool.tenant``, the first ones that come; all others are told
    together, as ``_other``. For the names see ``docs/reference/pool-figures.md``.

    Nothing is measured until somebody collects. Then each histogram gets, for each bucket, as many values as there were, of
    more than ``max_values`` since the last time a part (the SDK takes values one by one, some 20 µs each); counters are exact
    always. Nothing is kept alive; of what is closed nothing is told but what resource pools counted last. Make one object for a
    provider. Thread-safe. Raises ConfigurationError.
    """

    def __init__(
        self, meter_provider: MeterProvider | None = None, *, max_tenants: int = 100, max_values: int = 5000
    ) -> None:
        self._max_tenants = whole_number("max_tenants", max_tenants)
        self._max_values = whole_number("max_values", max_values)
        self._lock = threading.Lock()  # what is watched
        self._looking = threading.Lock()  # all below: a look may wait for a loop, which must not wait for it
        self._watched: dict[tuple[type, str], weakref.ref[Any]] = {}
        self._tenants: set[tuple[str, str]] = set()
        self._before: dict[Attributes, Reading] = {}
        self._moment: dict[str, dict[Attributes, float]] = {}
        meter = get_meter("rmqpool", __version__, meter_provider)
        self._counters = {name: meter.create_counter(name, *about) for name, about in COUNTERS.items()}
        self._histograms = {
            name: meter.create_histogram(name, "s", about, explicit_bucket_boundaries_advisory=BOUNDS)
            for name, about in TIMES.items()
        }
        for number, (name, about) in enumerate(GAUGES.items()):
            # Instruments are called in the order in which they were made: the first one looks, all others tell.
            meter.create_observable_up_down_counter(name, [self._callback(name, looks=number == 0)], *about)

    def add(self, name: str, pool: Watched) -> None:
        """Tell of this from now on. Raises ConfigurationError when the name is another living pool's, or breaker's."""
        if not isinstance(pool, _WATCHED):
            raise ConfigurationError(f"OpenTelemetryMetrics: {name!r} is {pool!r}; give a pool or a circuit breaker")
        kind = Breaker if isinstance(pool, Breaker | CircuitBreaker) else ConnectionPool
        with self._lock:
            known = self._watched.get((kind, name))
            if known is not None and known() not in (None, pool):
                raise ConfigurationError(f"{name!r} is told already, of another object: give each its own name")
            self._watched[kind, name] = weakref.ref(pool)

    def close(self) -> None:
        """Tell nothing more."""
        with self._lock:
            self._watched.clear()

    # Collecting

    def _callback(self, name: str, looks: bool) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(options: CallbackOptions) -> list[Observation]:
            with self._looking:
                if looks:
                    self._look()
                return [Observation(value, dict(whose)) for whose, value in self._moment.get(name, {}).items()]

        return observe

    def _look(self) -> None:
        """Reads everything once: what goes up and down is kept for the other callbacks, what grew is recorded now."""
        moment: dict[str, dict[Attributes, float]] = defaultdict(lambda: defaultdict(float))
        read: dict[Attributes, Reading] = {}
        for source, whose, told in self._readings():
            reading = told or self._before.get(source)  # one that cannot answer now is told as it was
            if reading is None:
                continue
            read[source] = reading
            for (name, attributes), value in reading.gauges.items():
                moment[name][_of(attributes, whose)] += value
            self._record(reading, self._before.get(source), whose)
        self._before, self._moment = read, moment

    def _record(self, reading: Reading, earlier: Reading | None, whose: Attributes) -> None:
        if earlier is None or not reading.grew_from(earlier):
            earlier = Reading()
        for (name, attributes), count in reading.counts.items():
            if (more := count - earlier.counts.get((name, attributes), 0)) > 0:
                self._counters[name].add(more, dict(_of(attributes, whose)))
        for (name, attributes), times in reading.times.items():
            told = dict(_of(attributes, whose))
            for value, number in values_of(
                times.since(earlier.times.get((name, attributes), Times())), self._max_values
            ):
                for _ in range(number):
                    self._histograms[name].record(value, told)

    def _readings(self) -> Iterator[tuple[Attributes, Attributes, Reading | None]]:
        """Who is read, who is told, and what."""
        with self._lock:
            self._watched = {key: reference for key, reference in self._watched.items() if reference() is not None}
            found = [(name, reference()) for (_, name), reference in self._watched.items()]
        for name, watched in found:
            try:
                yield from self._readings_of(name, watched)
            except Exception:
                _LOGGER.exception("the figures of %r could not be read", name)

    def _readings_of(
        self, name: str, watched: Watched | None
    ) -> Iterator[tuple[Attributes, Attributes, Reading | None]]:
        whose: Attributes = (("rmqpool.pool.name", name),)
        if isinstance(watched, Breaker | CircuitBreaker):
            whose = (("rmqpool.circuit_breaker.name", name),)
            stats = watched.stats() if isinstance(watched, Breaker) else None
            opened = watched.opened if isinstance(watched, CircuitBreaker) else watched.stats().opened
            yield whose, whose, breaker_reading(whose, watched.state, opened, watched.paused_seconds, stats)
        elif isinstance(watched, PoolManager):
            for tenant, told in watched.stats().tenants.items():
                if told.pool is not None:
                    source = (*whose, ("rmqpool.tenant", tenant))
                    yield (
                        source,
                        (*whose, ("rmqpool.tenant", self._tenant(name, tenant))),
                        pool_reading(told.pool, source),
                    )
        elif isinstance(watched, ConnectionPool):
            if not watched.closed:
                yield whose, whose, pool_reading(watched.stats(), whose)
        elif watched is not None:
            resources = read_stats(watched)
            reading = None if resources is None else resource_reading(resources, whose)
            if reading is not None and watched.closed:
                reading.gauges.clear()
            yield whose, whose, reading

    def _tenant(self, name: str, tenant: str) -> str:
        if (name, tenant) in self._tenants:
            return tenant
        if sum(known == name for known, _ in self._tenants) >= self._max_tenants:
            return OTHER_TENANTS
        self._tenants.add((name, tenant))
        return tenant


def _of(attributes: Attributes, whose: Attributes) -> Attributes:
    """The same attributes, of whoever is told."""
    return (*whose, *attributes[len(whose) :])
