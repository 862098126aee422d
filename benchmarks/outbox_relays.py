"""P7, beyond its goals: several relays, each a process of its own, share the rows that one commit makes visible."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg

from benchmarks.children import Child, RunFailedError, python_environment, started
from benchmarks.job import JOB_VARIABLE, Job
from benchmarks.queues import Queues
from benchmarks.report import Sample
from rmqpool.core.lanes import LANES
from rmqpool.outbox import Outbox
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.waiting import wait_until

__all__ = ["relay_together", "relays_beside", "wait_until_empty"]

_AT_ONCE = 1000  # rows of one statement
_DEADLINE = 60.0  # seconds for relays to come, and for the outbox to be empty
_NUMBERS = itertools.count(1)


def relay_together(amqp: str, database: str, relays: int, count: int) -> Sample:
    """From the first row that any of ``relays`` read to the last one that any removed. Raises RunFailedError, WrongCountError.

    The rows are written in one transaction before the relays start, and committed when each owns its share of the lanes:
    nobody works alone while the others start. CPU seconds and memory are those of all relays together.
    """
    queue, queues = f"benchmark-relays-{next(_NUMBERS)}", Queues(amqp)
    queues.declare(queue, "quorum")
    job = Job("rmqpool_relay_until_told", "main", queue, count, amqp)
    outbox = Outbox()
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(psycopg.connect(database))
            for start in range(0, count, _AT_ONCE):
                outbox.publish_many(connection, queue, [job.body] * min(_AT_ONCE, count - start))
            children = stack.enter_context(relays_beside(job, database, relays))
            connection.commit()
            wait_until_empty(database)
            answers = [end(child) for child in children]
        queues.expect(queue, count, count)
        return _sample(count, answers)
    finally:
        queues.delete(queue)


@contextmanager
def relays_beside(job: Job, database: str, relays: int = 1) -> Iterator[list[Child]]:
    """So many relays, each of which owns its share of the lanes already. Raises RunFailedError."""
    environment = {
        **python_environment(),
        JOB_VARIABLE: job.to_json(),
        "BENCHMARK_DATABASE": database,
        "BENCHMARK_RELAY": json.dumps({}),
        "BENCHMARK_LANES": str(LANES // relays),
    }
    command = [sys.executable, "-m", "benchmarks.clients.rmqpool_relay_until_told"]
    with ExitStack() as stack:
        children = [stack.enter_context(started(command, environment)) for _ in range(relays)]
        for child in children:
            child.wait_for(lambda child=child: "ready\n" in child.output, "it owns its lanes", _DEADLINE)  # type: ignore[misc]
        yield children


def wait_until_empty(database: str) -> None:
    """Return when no row waits in the outbox. RunFailedError if that does not come."""
    with psycopg.connect(database, autocommit=True) as connection:

        def is_empty() -> bool:
            return connection.execute("SELECT FROM rmqpool_outbox LIMIT 1").fetchone() is None

        try:
            wait_until(is_empty, "an empty outbox", timeout=_DEADLINE, interval=0.05)
        except ServicesError as error:
            raise RunFailedError(str(error)) from None


def end(child: Child) -> dict[str, Any]:
    """Tell a relay to end; returns what it did. Raises RunFailedError."""
    child.send(signal.SIGTERM)
    return child.result(_DEADLINE)


def _sample(count: int, answers: list[dict[str, Any]]) -> Sample:
    removed = [answer["removed"] for answer in answers]
    if sum(removed) != count:
        raise RunFailedError(f"the relays removed {sum(removed):,} of {count:,} rows")
    worked = [answer for answer in answers if answer["removed"]]
    return Sample(
        messages=count,
        seconds=max(answer["ended"] for answer in worked) - min(answer["began"] for answer in worked),
        cpu_seconds=sum(answer["cpu_seconds"] for answer in worked),
        peak_bytes=sum(answer["peak_bytes"] for answer in answers),
    )
