"""The figures of pools for Prometheus and OpenTelemetry: what `stats()` says, read when somebody asks."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from rmqpool import ConfigurationError, ConnectionPool, NotFoundError, PoolManager
from rmqpool.middlewares import OpenTelemetryMetrics, PoolMetrics
from tests.garbage import collect


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_pool_is_told_by_its_name(registry: CollectorRegistry, vhost_url: str) -> None:
    """Gauges, counters and histograms, with the same numbers as stats(); nothing of a pool that is closed."""
    metrics = PoolMetrics(registry)
    with ConnectionPool(vhost_url, channels_per_connection=4) as pool:
        metrics.add("orders", pool)
        with pool.channel():
            pass
        with pool.channel():
            value: Callable[..., float | None] = registry.get_sample_value
            assert value("rmqpool_channel_count", {"pool": "orders", "state": "used"}) == 1
            assert value("rmqpool_channel_max", {"pool": "orders"}) == 4
            assert value("rmqpool_channel_wait_time_seconds_count", {"pool": "orders"}) == 2
            assert value("rmqpool_channel_use_time_seconds_bucket", {"pool": "orders", "le": "+Inf"}) == 1
            assert value("rmqpool_connection_count", {"pool": "orders", "state": "ready"}) == 2
            assert value("rmqpool_connection_create_time_seconds_count", {"pool": "orders"}) == 2
            assert value("rmqpool_channel_timeouts_total", {"pool": "orders"}) == 0
        assert "guest" not in generate_latest(registry).decode()
    assert value("rmqpool_channel_max", {"pool": "orders"}) is None
    metrics.close()
    assert generate_latest(registry) == b""


def test_a_manager_is_told_by_tenant(registry: CollectorRegistry) -> None:
    """As name/tenant."""
    metrics = PoolMetrics(registry)
    with PoolManager("amqp://127.0.0.1/{tenant}") as manager:
        metrics.add("shop", manager)
        with manager.pool("acme"):
            assert registry.get_sample_value("rmqpool_unsettled_messages", {"pool": "shop/acme"}) == 0


def test_two_pools_of_one_name_are_refused(registry: CollectorRegistry) -> None:
    """Their figures would be mixed up; a pool that is gone needs its name no more."""
    metrics = PoolMetrics(registry)
    one, two = ConnectionPool("amqp://127.0.0.1/"), ConnectionPool("amqp://127.0.0.1/")
    metrics.add("orders", one)
    metrics.add("orders", one)
    with pytest.raises(ConfigurationError, match="'orders' is told already"):
        metrics.add("orders", two)
    gone = weakref.ref(one)
    del one
    collect(gone)
    metrics.add("orders", two)


def test_a_pool_is_told_to_open_telemetry(vhost_url: str) -> None:
    """Channels and connections, with the numbers of stats()."""
    reader = InMemoryMetricReader()
    telemetry = OpenTelemetryMetrics(MeterProvider([reader]))
    with ConnectionPool(vhost_url, channels_per_connection=4) as pool:
        telemetry.add("orders", pool)
        with pool.channel(), pytest.raises(NotFoundError), pool.channel() as channel:
            channel.queue_declare("missing", passive=True)
        data = reader.get_metrics_data()
        assert data is not None
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        told = {metric.name.removeprefix("rmqpool."): list(metric.data.data_points) for metric in metrics}
    assert [point.value for point in told["channel.max"]] == [4]
    assert {point.attributes["error.type"]: point.value for point in told["pool.errors"]} == {"NotFoundError": 1}
    assert [point.count for point in told["channel.use_time"]] == [2]
    assert [point.count for point in told["connection.create_time"]] == [2]
    ready = [
        point.value for point in told["connection.count"] if point.attributes["rmqpool.connection.state"] == "ready"
    ]
    assert ready == [2]
