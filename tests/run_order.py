"""The order in which the tests run, where several processes share them: a pytest plugin.

Law: slow files begin and the unit tests, which are quick and need no node, come last, so that no long test runs at the end
while the other processes have nothing left to do. A file stays whole, because its processes would each start its nodes.
Inside of that the order is the random one of pytest-randomly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

import pytest

__all__ = ["dealt"]

T = TypeVar("T")

# Seconds that a test of each folder takes on average, and those of the files that are far from it.
_SECONDS = {"faults": 0.8, "acceptance": 0.5, "integration": 0.25, "unit": 0.0}
_FILES = {
    "faults/test_outbox.py": 95, "acceptance/test_supervisor.py": 80, "acceptance/test_reload.py": 60,
    "faults/test_queue_migration.py": 50, "integration/test_fall_back.py": 44, "faults/test_network.py": 42,
    "faults/test_agent.py": 41, "integration/outbox/test_relay.py": 40, "acceptance/test_health.py": 38,
    "integration/test_documentation.py": 38, "integration/testing/test_plugin.py": 32, "faults/test_children.py": 30,
    "integration/testing/test_rabbitmq.py": 28, "acceptance/test_demo.py": 27, "integration/planning/test_migrating.py": 26,
    "integration/worker/test_retries.py": 26, "faults/test_broker_killed.py": 22, "integration/agent/test_bad_clients.py": 19,
    "faults/test_tls.py": 19, "faults/test_fork.py": 19, "acceptance/test_publish.py": 18, "acceptance/test_agent.py": 18,
    "integration/middlewares/test_circuit_breaker.py": 18, "integration/workers/test_archive.py": 18,
    "integration/worker/test_timeout_guard.py": 17, "faults/test_slow_network.py": 16, "integration/resources/test_storm.py": 9,
    "integration/resources/test_life.py": 5, "integration/resources/test_queueing.py": 5,
    "integration/resources/test_opening.py": 5, "integration/resources/test_sizes.py": 5,
    "integration/resources/test_checking.py": 2, "integration/resources/test_borrowing.py": 2,
}  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort, and deal to as many processes as there are; xdist cuts the list into as many equal parts."""
    processes = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if processes > 1:
        files = [(name, list(group)) for name, group in groupby(items, lambda item: item.nodeid.partition("::")[0])]
        items[:] = dealt([(_weight(name, len(group)), group) for name, group in files], processes)


def _weight(file: str, tests: int) -> float:
    place = file.removeprefix("tests/")
    return _FILES.get(place, _SECONDS.get(place.partition("/")[0], 0.0) * tests)


def dealt(files: Sequence[tuple[float, Sequence[T]]], processes: int) -> list[T]:
    """The tests of all files (weight, tests), in an order whose equal parts, one for each process, weigh the same.

    Each part begins with its heaviest files. Files without a weight fill the parts up, and may be torn.
    """
    total = sum(len(tests) for _, tests in files)
    parts: list[list[T]] = [[] for _ in range(processes)]
    weights = [0.0] * processes
    for weight, tests in sorted((file for file in files if file[0] > 0), key=lambda file: -file[0]):
        lightest = weights.index(min(weights))
        parts[lightest] += tests
        weights[lightest] += weight
    light = [test for weight, tests in files if weight <= 0 for test in tests]
    order: list[T] = []
    for number, part in enumerate(parts, start=1):
        missing = max(0, total * number // processes - len(order) - len(part))
        order += [*part, *light[:missing]]
        light = light[missing:]
    return order + light
