"""The figures of pools and circuit breakers for OpenTelemetry, as its SDK collects them."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint

from rmqpool import (
    AsyncResourcePool,
    Breaker,
    ConfigurationError,
    ConnectionPool,
    PoolManager,
    PoolTimeoutError,
    ResourcePool,
)
from rmqpool.core.histogram import BOUNDS
from rmqpool.middlewares import CircuitBreaker, OpenTelemetryMetrics
from tests.garbage import collect


class Collected:
    """One provider, with a reader whose figures are asked for by name and attributes."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.points: dict[tuple[str, frozenset[tuple[str, Any]]], Any] = {}

    def collect(self) -> None:
        self.points = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        self.points[metric.name, frozenset((point.attributes or {}).items())] = point

    def value(self, name: str, **attributes: str) -> float | None:
        """Of a gauge or a counter."""
        point = self._point(name, attributes)
        assert point is None or isinstance(point, NumberDataPoint)
        return None if point is None else point.value

    def times(self, name: str, **attributes: str) -> HistogramDataPoint:
        point = self._point(name, attributes)
        assert isinstance(point, HistogramDataPoint)
        return point

    def _point(self, name: str, attributes: dict[str, str]) -> Any:
        wanted = frozenset((key.replace("__", "."), value) for key, value in attributes.items())
        return self.points.get((f"rmqpool.{name}", wanted))


@pytest.fixture
def collected() -> Collected:
    return Collected()


DATABASE = {"rmqpool__pool__name": "database"}


def test_a_pool_of_resources_is_told_by_its_name(collected: Collected) -> None:
    """The numbers of stats(); what grows is recorded once, however often it is collected."""
    telemetry = OpenTelemetryMetrics(collected.provider)
    with ResourcePool(object, min_size=1, max_size=1, leak_after=60) as pool:
        telemetry.add("database", pool)
        with pool.lease(), pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.01)
        with pool.lease():
            collected.collect()
            assert collected.value("resource.count", **DATABASE, rmqpool__resource__state="used") == 1
            assert collected.value("resource.max", **DATABASE) == collected.value("resource.min", **DATABASE) == 1
            assert collected.value("resource.timeouts", **DATABASE) == 1
            assert collected.value("pool.errors", **DATABASE, error__type="PoolTimeoutError") == 1
            assert collected.times("resource.wait_time", **DATABASE).count == 2
            assert collected.times("resource.use_time", **DATABASE).count == 1
        for _ in range(2):
            collected.collect()
        assert collected.value("resource.count", **DATABASE, rmqpool__resource__state="idle") == 1
        assert collected.value("resource.timeouts", **DATABASE) == 1
        used, stats = collected.times("resource.use_time", **DATABASE), pool.stats()
        assert (used.count, tuple(used.explicit_bounds)) == (2, BOUNDS)
        assert tuple(used.bucket_counts) == stats.use_time.counts
        assert used.sum == pytest.approx(stats.use_time.total)
        with pool.lease():
            pass
    collected.collect()  # what it counted last is told; what it is at this moment no more
    assert collected.times("resource.use_time", **DATABASE).count == 3
    assert collected.value("resource.max", **DATABASE) is None


async def test_a_pool_of_a_loop_is_told_too(collected: Collected) -> None:
    """Asked on its loop."""
    telemetry = OpenTelemetryMetrics(collected.provider)
    async with AsyncResourcePool(object, max_size=3) as pool:
        telemetry.add("database", pool)
        async with pool.lease():
            collected.collect()
    assert collected.value("resource.count", **DATABASE, rmqpool__resource__state="used") == 1


def test_another_pool_of_the_same_name_counts_from_its_own_beginning(collected: Collected) -> None:
    """Nothing is taken back, and nothing is counted twice."""
    telemetry = OpenTelemetryMetrics(collected.provider)
    for uses in (3, 1):
        pool = ResourcePool(object)
        telemetry.add("database", pool)
        for _ in range(uses):
            pool.release(pool.acquire())
        collected.collect()
        with pytest.raises(ConfigurationError, match="is told already"):
            telemetry.add("database", ResourcePool(object))
        pool.close()
        gone = weakref.ref(pool)
        del pool
        collect(gone)
    assert collected.times("resource.use_time", **DATABASE).count == 4


def test_of_too_many_values_a_part_is_recorded(collected: Collected) -> None:
    """And how many there were is counted all the same."""
    telemetry = OpenTelemetryMetrics(collected.provider, max_values=10)
    with ResourcePool(object) as pool:
        telemetry.add("database", pool)
        for _ in range(300):
            pool.release(pool.acquire())
        collected.collect()
    assert 0 < collected.times("resource.use_time", **DATABASE).count < 10 + len(BOUNDS)
    assert collected.value("resource.granted", **DATABASE) == 300


def test_tenants_are_told_apart_up_to_a_bound(collected: Collected) -> None:
    """The first ones keep their names; the others are told together."""
    telemetry = OpenTelemetryMetrics(collected.provider, max_tenants=2)
    with PoolManager("amqp://127.0.0.1/{tenant}") as manager:
        telemetry.add("shop", manager)
        for tenant in ("acme", "apex", "bolt", "core"):
            with manager.pool(tenant):
                collected.collect()
        unready = {
            tenant: {"rmqpool__pool__name": "shop", "rmqpool__tenant": tenant} for tenant in ("acme", "apex", "_other")
        }
        found = {tenant: collected.value("unsettled_messages", **whose) for tenant, whose in unready.items()}
        assert found == {"acme": 0, "apex": 0, "_other": 0}
        assert len([key for key in collected.points if key[0] == "rmqpool.unsettled_messages"]) == 3


def test_breakers_are_told(collected: Collected) -> None:
    """State, openings, pauses and calls, the refused ones among them."""
    telemetry = OpenTelemetryMetrics(collected.provider)
    bank, shop = Breaker("bank", on=OSError), CircuitBreaker("shop", on=OSError)
    telemetry.add("bank", bank)
    telemetry.add("shop", shop)
    for _ in range(5):
        with pytest.raises(OSError, match="no answer"), bank:
            raise OSError("no answer")
    collected.collect()
    whose = {"rmqpool__circuit_breaker__name": "bank"}
    assert collected.value("circuit_breaker.state", **whose, rmqpool__circuit_breaker__state="open") == 1
    assert collected.value("circuit_breaker.opened", **whose) == 1
    assert collected.value("circuit_breaker.calls", **whose, rmqpool__circuit_breaker__outcome="failed") == 5
    assert (collected.value("circuit_breaker.paused", **whose) or 0) > 0
    closed = {"rmqpool__circuit_breaker__name": "shop", "rmqpool__circuit_breaker__state": "closed"}
    assert collected.value("circuit_breaker.state", **closed) == 1


def test_what_is_gone_or_wrong_is_not_told(collected: Collected) -> None:
    """Nothing is kept alive; after close nothing is told at all."""
    telemetry = OpenTelemetryMetrics(collected.provider)
    pool = ConnectionPool("amqp://127.0.0.1/")
    telemetry.add("orders", pool)
    telemetry.add("orders", pool)
    collected.collect()
    assert collected.value("unsettled_messages", rmqpool__pool__name="orders") == 0
    gone = weakref.ref(pool)
    del pool
    collect(gone)
    collected.collect()
    assert collected.value("unsettled_messages", rmqpool__pool__name="orders") is None
    telemetry.add("database", kept := ResourcePool(object))
    telemetry.close()
    collected.collect()
    assert collected.points == {}
    assert not kept.closed
    with pytest.raises(ConfigurationError, match="give a pool or a circuit breaker"):
        telemetry.add("orders", "amqp://127.0.0.1/")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="max_tenants"):
        OpenTelemetryMetrics(collected.provider, max_tenants=0)
