"""The benches of the worker's tests."""

from tests.integration.worker.conftest import bench, bench_on, lines, seconds

__all__ = ["bench", "bench_on", "lines", "seconds"]
