"""P8: from a writer's process to the broker's confirm in the relay's process: since the insert, and since the commit.

The goal says insert → confirmed, so it is judged from before the insert, the commit with its fsync included.
"""

from __future__ import annotations

import json
import sys

from benchmarks.children import RunFailedError, python_environment, run_program, started
from benchmarks.job import JOB_VARIABLE, Job
from benchmarks.queues import Queues
from benchmarks.report import Latency

__all__ = ["measure_latency", "percentile"]

_DEADLINE = 60.0  # seconds for one run
_WARM_UP = 100  # first messages that are not counted


def measure_latency(amqp: str, database: str, rate: int, count: int) -> Latency:
    """One writer at ``rate`` transactions a second beside one relay. Raises RunFailedError."""
    queue, queues = f"benchmark-outbox-latency-{rate}", Queues(amqp)
    queues.declare(queue, "quorum")
    job = Job("rmqpool_relay", "main", queue, count, amqp)
    environment = {
        **python_environment(),
        JOB_VARIABLE: job.to_json(),
        "BENCHMARK_DATABASE": database,
        "BENCHMARK_RELAY": json.dumps({}),
        "BENCHMARK_TIMES": "yes",
        "BENCHMARK_RATE": str(rate),
    }
    try:
        with started([sys.executable, "-m", "benchmarks.clients.rmqpool_relay"], environment) as relay:
            relay.wait_for(lambda: "ready\n" in relay.output, "it owns its lanes", _DEADLINE)
            writer = run_program(
                [sys.executable, "-m", "benchmarks.clients.rmqpool_outbox_writer"], environment, _DEADLINE
            )
            confirmed = relay.result(_DEADLINE)["times"]
    finally:
        queues.delete(queue)
    missing = writer["inserted"].keys() - confirmed.keys()
    if missing:
        raise RunFailedError(f"{len(missing):,} of {count:,} messages were not confirmed")
    inserted, committed = (_seconds(confirmed, writer[since]) for since in ("inserted", "committed"))
    return Latency(rate, *_both(inserted), *_both(committed))


def _seconds(confirmed: dict[str, float], since: dict[str, float]) -> list[float]:
    return [confirmed[one] - at for one, at in list(since.items())[_WARM_UP:]]


def _both(seconds: list[float]) -> tuple[float, float]:
    return percentile(seconds, 0.5), percentile(seconds, 0.99)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all are not above. Pure."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
