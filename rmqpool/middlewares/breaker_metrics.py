"""Figures of circuit breakers for Prometheus, read when they are scraped: nothing is kept that could be out of step."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator

from rmqpool.breaker import Breaker
from rmqpool.core.breaker import BreakerState
from rmqpool.errors import ConfigurationError
from rmqpool.middlewares.circuit_breaker import CircuitBreaker

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as missing:
    raise ConfigurationError("BreakerMetrics needs prometheus-client: pip install 'rmqpool[metrics]'") from missing

__all__ = ["BreakerMetrics", "watch_breakers"]

AnyBreaker = Breaker | CircuitBreaker


class BreakerMetrics:
    """Tells a registry of circuit breakers: ``BreakerMetrics().add(bank)``. Thread-safe.

    ``rmqpool_circuit_breaker_state{breaker,state}``, ``rmqpool_circuit_breaker_opened_total{breaker}``,
    ``rmqpool_circuit_breaker_paused_seconds_total{breaker}``; of a :class:`rmqpool.Breaker` also
    ``rmqpool_circuit_breaker_calls_total{breaker,outcome}``, with the outcomes succeeded, failed, ignored and refused. Costs
    nothing until somebody reads the registry. Breakers are not kept alive.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry

    def add(self, *breakers: AnyBreaker) -> None:
        """Tell of these from now on. Raises ConfigurationError for two breakers of one name, and for what is no breaker."""
        watch_breakers(self._registry, breakers)


def watch_breakers(registry: CollectorRegistry, breakers: Iterable[AnyBreaker]) -> None:
    """Tell of ``breakers`` in ``registry`` for as long as they are in use. Watching one again changes nothing. Thread-safe.

    Raises ConfigurationError for two breakers of one name, and for what is no breaker.
    """
    wanted = list(breakers)
    for breaker in wanted:
        if not isinstance(breaker, AnyBreaker):
            raise ConfigurationError(
                f"{breaker!r} is no circuit breaker; give Breaker or CircuitBreaker objects, which have names already"
            )
    if not wanted:
        return
    with _LOCK:
        collector = _COLLECTORS.get(registry)
        if collector is None:
            collector = _Breakers()
            registry.register(collector)
            _COLLECTORS[registry] = collector
    collector.add(wanted)


class _Breakers(Collector):
    """The breakers of one registry, by name."""

    def __init__(self) -> None:
        self._watched: weakref.WeakValueDictionary[str, AnyBreaker] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def add(self, breakers: Iterable[AnyBreaker]) -> None:
        with self._lock:
            for breaker in breakers:
                if self._watched.setdefault(breaker.name, breaker) is not breaker:
                    raise ConfigurationError(
                        f"two circuit breakers are named {breaker.name!r}, and their figures would be mixed up: give each "
                        "dependency's a name of its own, or use one object for both consumers"
                    )

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            watched = list(self._watched.values())
        state = GaugeMetricFamily(
            "rmqpool_circuit_breaker_state", "1 for the state that it is in", labels=("breaker", "state")
        )
        opened = CounterMetricFamily("rmqpool_circuit_breaker_opened", "How often it has opened", labels=("breaker",))
        paused = CounterMetricFamily(
            "rmqpool_circuit_breaker_paused_seconds", "How long it was open or half-open", labels=("breaker",)
        )
        calls = CounterMetricFamily(
            "rmqpool_circuit_breaker_calls",
            "Calls that ended, or were not made, by outcome",
            labels=("breaker", "outcome"),
        )
        for breaker in watched:
            now = breaker.state
            for one in BreakerState:
                state.add_metric((breaker.name, one), float(one is now))
            if isinstance(breaker, Breaker):
                figures = breaker.stats()
                opened.add_metric((breaker.name,), figures.opened)
                for outcome in ("succeeded", "failed", "ignored", "refused"):
                    calls.add_metric((breaker.name, outcome), getattr(figures, outcome))
            else:
                opened.add_metric((breaker.name,), breaker.opened)
            paused.add_metric((breaker.name,), breaker.paused_seconds)
        yield from (state, opened, paused)
        if calls.samples:
            yield calls


_LOCK = threading.Lock()
_COLLECTORS: weakref.WeakKeyDictionary[CollectorRegistry, _Breakers] = weakref.WeakKeyDictionary()
