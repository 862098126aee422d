"""The figures of resource pools for Prometheus."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from rmqpool import AsyncResourcePool, Breaker, ConfigurationError, PoolTimeoutError, ResourcePool
from rmqpool.middlewares import PoolMetrics


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"rmqpool_{name}", {"pool": "database", **labels})


def test_a_pool_of_resources_is_told_by_its_name() -> None:
    """The numbers of stats(), in families of their own; nothing of a pool that is closed."""
    registry = CollectorRegistry()
    metrics = PoolMetrics(registry)
    with ResourcePool(object, min_size=1, max_size=1) as pool:
        metrics.add("database", pool)
        with pool.lease(), pytest.raises(PoolTimeoutError):
            pool.acquire(timeout=0.01)
        with pool.lease():
            assert (value(registry, "resource_count", state="used"), value(registry, "resource_max")) == (1, 1)
        assert value(registry, "resource_count", state="idle") == value(registry, "resource_min") == 1
        assert (
            value(registry, "resource_timeouts_total")
            == value(registry, "pool_errors_total", type="PoolTimeoutError")
            == 1
        )
        counts = [value(registry, f"resource_{name}_time_seconds_count") for name in ("wait", "use", "create")]
        assert counts == [2, 2, 1]
        assert "rmqpool_channel" not in generate_latest(registry).decode()
    assert generate_latest(registry) == b""


@pytest.mark.parametrize("wrong", [3, Breaker("bank")])
def test_what_is_no_pool_is_refused(wrong: Any) -> None:
    """A circuit breaker, for example, which every later scrape would have failed on."""
    registry = CollectorRegistry()
    with pytest.raises(ConfigurationError, match="give a pool"):
        PoolMetrics(registry).add("bank", wrong)
    assert generate_latest(registry) == b""


def test_two_that_tell_one_registry_tell_together() -> None:
    """Each family once, as a scrape must have it, and no name twice; what one has added goes with it."""
    registry = CollectorRegistry()
    first, second = PoolMetrics(registry), PoolMetrics(registry)
    with ResourcePool(object) as database, ResourcePool(object) as cache:
        first.add("database", database)
        second.add("cache", cache)
        with pytest.raises(ConfigurationError, match="told already"):
            second.add("database", cache)
        told = generate_latest(registry).decode()
        assert told.count("# TYPE rmqpool_resource_max gauge") == 1
        assert told.count('rmqpool_resource_max{pool="') == 2
        first.close()
        assert value(registry, "resource_max") is None
        assert 'rmqpool_resource_max{pool="cache"}' in generate_latest(registry).decode()
        second.close()
        assert generate_latest(registry) == b""


async def test_a_pool_of_a_loop_is_asked_on_its_loop() -> None:
    """From the loop itself, and from another thread, as a scrape comes; one that does not answer is left out."""
    registry = CollectorRegistry()
    metrics = PoolMetrics(registry)
    async with AsyncResourcePool(object, max_size=3) as pool:
        metrics.add("database", pool)
        assert value(registry, "resource_max") == 3
        async with pool.lease():
            assert await asyncio.to_thread(value, registry, "resource_count", state="used") == 1
        with ThreadPoolExecutor(1) as executor:
            assert executor.submit(value, registry, "resource_max").result(60) is None  # the loop waits here
