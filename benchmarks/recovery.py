"""P10: how soon a pool that lived through a restart of its broker has a publish confirmed again."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.children import python_environment, started
from benchmarks.job import JOB_VARIABLE, Job
from benchmarks.queues import Queues
from benchmarks.report import Recovery
from rmqpool.testing.rabbitmq import RabbitMQNode

__all__ = ["measure_recovery"]

_QUEUE = "benchmark-recovery"
_PATIENCE = 120.0  # seconds for one restart and what follows it


def measure_recovery(node: RabbitMQNode, restarts: int, tell: Callable[[str], None]) -> Recovery:
    """Restart the node so often under a program that watches it. Raises RunFailedError, ServicesError."""
    queues = Queues(node.amqp_url())
    queues.declare(_QUEUE, "quorum")
    job = Job("rmqpool_recovery", "main", _QUEUE, restarts, node.amqp_url())
    command = [sys.executable, "-m", "benchmarks.clients.rmqpool_recovery"]
    with started(command, {**python_environment(), JOB_VARIABLE: job.to_json()}) as child:
        for number in range(1, restarts + 1):

            def is_watching(number: int = number) -> bool:
                return child.output.count("watching\n") >= number

            child.wait_for(is_watching, "it watches the broker", _PATIENCE)
            tell(f"recovery: restart {number}/{restarts}")
            node.restart()
        answer = child.result(_PATIENCE)
    queues.delete(_QUEUE)
    return Recovery(answer["cap"], tuple(answer["lived_through"]), tuple(answer["fresh"]))
