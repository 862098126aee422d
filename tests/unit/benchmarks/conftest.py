"""Made-up reports: figures for the pure parts of the benchmarks."""

from collections.abc import Callable

import pytest

from benchmarks.report import (
    EntryResult,
    Machine,
    PoolResult,
    PoolRun,
    PoolTable,
    Report,
    Sample,
    ScenarioResult,
    Waits,
)

Rates = dict[str, float | None]
MakeReport = Callable[..., Report]
MakeScenario = Callable[[str, Rates], ScenarioResult]


def sample(rate: float, connections: int | None = 1) -> Sample:
    """A run of 1,000 messages at that rate."""
    return Sample(messages=1000, seconds=1000 / rate, cpu_seconds=0.05, peak_bytes=30_000_000, connections=connections)


def scenario(key: str, rates: Rates) -> ScenarioResult:
    """A table with one sample for each name; None is a client that is missing."""
    entries = tuple(
        EntryResult(name, missing="not installed") if rate is None else EntryResult(name, samples=(sample(rate),))
        for name, rate in rates.items()
    )
    return ScenarioResult(key, f"Table {key}", 1, entries)


def pool_table(key: str, milliseconds: Rates) -> PoolTable:
    """A table of pools, each with one run: 100 leases that took, or waited for, so long. None is a pool that is missing."""
    pools = []
    for name, one in milliseconds.items():
        if one is None:
            pools.append(PoolResult(name, missing="not installed", group="threads"))
        else:
            waits = Waits(*(one / 1000 * share for share in (0.5, 0.9, 1.0, 2.0)))
            run = PoolRun(100, one / 10, 6, waits, 0.001)
            pools.append(PoolResult(name, "opens somehow", runs=(run,), group="threads"))
    return PoolTable(key, f"Table {key}", 1, tuple(pools))


@pytest.fixture
def make_pool_table() -> Callable[[str, Rates], PoolTable]:
    """make_pool_table("pool-spike", {"rmqpool ResourcePool": 20.0, "kombu Resource": None}) -> these 99th percentiles, in ms.

    In "pool-pairs" it is milliseconds for one acquire with its release.
    """
    return pool_table


@pytest.fixture
def make_scenario() -> MakeScenario:
    """make_scenario("many", {"rmqpool submit": 100.0, "aio-pika": None}) -> a table with these rates."""
    return scenario


@pytest.fixture
def make_report() -> MakeReport:
    """make_report(many={"rmqpool submit": 100.0, "aio-pika": None}, ...) -> a report with these tables."""

    def make(**tables: Rates) -> Report:
        machine = Machine("2025-01-01T00:00:00+00:00", 2, "Linux x86_64", "3.11.0", "3.10.8", {"pika": "1.4.0"})
        found = tuple(scenario(key, rates) for key, rates in tables.items())
        return Report("quick", tuple(tables), machine, found)

    return make
