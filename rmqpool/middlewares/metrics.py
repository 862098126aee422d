"""Figures of what is handled and published, for Prometheus. Needs the extra ``metrics`` (prometheus-client)."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rmqpool.errors import ConfigurationError, DecodeError, PublishError
from rmqpool.late_imports import IMPORTING
from rmqpool.message import Confirmation, Delivery, Message
from rmqpool.middleware import Middleware
from rmqpool.middlewares.ends import HANDLED, destination_of, end_of, outcome_of

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as missing:
    raise ConfigurationError("Metrics needs prometheus-client: pip install 'rmqpool[metrics]'") from missing

if TYPE_CHECKING:
    from rmqpool.middlewares.circuit_breaker import CircuitBreaker

__all__ = ["AGES", "SECONDS", "Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histograms of handling and publishing, in seconds."""

AGES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0)
"""Upper bounds of the histogram of ages, in seconds: AMQP timestamps have no parts of seconds."""


class Metrics(Middleware):
    """Counts and measures; names and labels as Prometheus recommends (https://prometheus.io/docs/practices/naming/).

    ``rmqpool_handled_messages_total{queue,outcome}``, ``rmqpool_handling_seconds{queue}``,
    ``rmqpool_handling_in_progress{queue}``, ``rmqpool_message_age_seconds{queue}`` (from the ``timestamp`` property, where
    a message has one, to the start of its handling); ``rmqpool_published_messages_total{destination,outcome}``,
    ``rmqpool_publishing_seconds{destination}``. ``destination`` is an exchange, or a queue of the default exchange.

    ``breakers`` (:class:`CircuitBreaker`) are told of, too: ``rmqpool_circuit_breaker_state{breaker,state}``,
    ``rmqpool_circuit_breaker_opened_total{breaker}``, ``rmqpool_circuit_breaker_paused_seconds_total{breaker}``.

    ``registry`` is prometheus-client's own by default. Objects on one registry share their figures. Raises
    ConfigurationError. Thread-safe.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        seconds: Sequence[float] = SECONDS,
        ages: Sequence[float] = AGES,
        breakers: Iterable[CircuitBreaker] = (),
    ) -> None:
        if watched := tuple(breakers):
            with IMPORTING:  # who has no breaker does not pay for the worker's modules
                from rmqpool.middlewares.breaker_metrics import watch_breakers
            watch_breakers(registry, watched)
        with _LOCK:
            series = _SERIES.get(registry)
            if series is None:
                series = _SERIES[registry] = _Series(registry, seconds, ages)
        self._series = series
        self._queues: dict[str, _Queue] = {}
        self._outcomes: dict[tuple[str, str], Any] = {}
        self._published: dict[str, Any] = {}

    def before_handle(self, delivery: Delivery) -> float:
        queue = self._queue(delivery.queue)
        queue.in_progress.inc()
        try:
            timestamp = delivery.timestamp
        except DecodeError:  # its properties cannot be read
            timestamp = None
        if isinstance(timestamp, int):
            queue.age.observe(max(0.0, time.time() - timestamp))  # the clocks of two machines
        return time.perf_counter()

    def after_handle(self, delivery: Delivery, state: float, result: Any) -> None:
        self._ended(delivery, state, HANDLED)

    def on_handle_error(self, delivery: Delivery, state: float, error: BaseException) -> None:
        self._ended(delivery, state, end_of(error))

    def before_publish(self, message: Message) -> float:
        return time.perf_counter()

    def after_publish(self, message: Message, state: float, confirmation: Confirmation) -> None:
        self._outcome(message, state, confirmation)

    def on_publish_error(self, message: Message, state: float, error: PublishError) -> None:
        self._outcome(message, state, error)

    def _ended(self, delivery: Delivery, since: float, outcome: str) -> None:
        queue = self._queue(delivery.queue)
        queue.in_progress.dec()
        queue.seconds.observe(time.perf_counter() - since)
        queue.count(outcome)

    def _queue(self, name: str) -> _Queue:
        found = self._queues.get(name)
        if found is None:
            found = self._queues.setdefault(name, _Queue(self._series, name))
        return found

    def _outcome(self, message: Message, since: float, outcome: Confirmation | PublishError) -> None:
        destination = destination_of(message)
        seconds = self._published.get(destination)
        if seconds is None:
            seconds = self._published.setdefault(destination, self._series.publishing.labels(destination))
        seconds.observe(time.perf_counter() - since)
        key = (destination, outcome_of(outcome))
        counter = self._outcomes.get(key)
        if counter is None:
            counter = self._outcomes.setdefault(key, self._series.published.labels(*key))
        counter.inc()


class _Queue:
    """The series of one queue, looked up once."""

    def __init__(self, series: _Series, name: str) -> None:
        self._name = name
        self._handled = series.handled
        self._counters: dict[str, Any] = {}
        self.seconds = series.handling.labels(name)
        self.in_progress = series.in_progress.labels(name)
        self.age = series.age.labels(name)

    def count(self, outcome: str) -> None:
        counter = self._counters.get(outcome)
        if counter is None:
            counter = self._counters.setdefault(outcome, self._handled.labels(self._name, outcome))
        counter.inc()


class _Series:
    """Everything that is registered with one registry."""

    def __init__(self, registry: CollectorRegistry, seconds: Sequence[float], ages: Sequence[float]) -> None:
        self.handled = Counter(
            "rmqpool_handled_messages",
            "Handlings that ended, by outcome",
            ("queue", "outcome"),
            registry=registry,
        )
        self.handling = Histogram(
            "rmqpool_handling_seconds", "How long a handling took", ("queue",), registry=registry, buckets=seconds
        )
        self.in_progress = Gauge(
            "rmqpool_handling_in_progress", "Handlings that run now", ("queue",), registry=registry
        )
        self.age = Histogram(
            "rmqpool_message_age_seconds",
            "How old a message was when its handling began, by its timestamp",
            ("queue",),
            registry=registry,
            buckets=ages,
        )
        self.published = Counter(
            "rmqpool_published_messages",
            "Publishes that ended, by outcome",
            ("destination", "outcome"),
            registry=registry,
        )
        self.publishing = Histogram(
            "rmqpool_publishing_seconds",
            "How long a publish took, up to its outcome",
            ("destination",),
            registry=registry,
            buckets=seconds,
        )


_LOCK = threading.Lock()
_SERIES: weakref.WeakKeyDictionary[CollectorRegistry, _Series] = weakref.WeakKeyDictionary()
