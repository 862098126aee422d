"""How fast writers insert at the same time, by how they wake the relay: the doorbell, NOTIFY each time, not at all."""

from __future__ import annotations

import itertools
from functools import partial

from benchmarks.alternating import Tell, Turn, alternate
from benchmarks.children import run_job
from benchmarks.clients.rmqpool_outbox_writers import WARM_UP
from benchmarks.compiling import CClient
from benchmarks.job import Job
from benchmarks.outbox_relays import end, relays_beside, wait_until_empty
from benchmarks.queues import Queues
from benchmarks.report import Sample, ScenarioResult

__all__ = ["DOORBELL", "NOTIFY", "NO_WAKE_UP", "measure_writers"]

DOORBELL, NO_WAKE_UP, NOTIFY = "rmqpool Outbox", "rmqpool Outbox, no wake-up", "plain NOTIFY"
_WRITERS = 8
_WAYS = (
    (DOORBELL, "doorbell", "doorbell"),
    (NO_WAKE_UP, "none", "doorbell=False"),
    (NOTIFY, "notify", "the same statement with NOTIFY"),
)
_NUMBERS = itertools.count(1)


def measure_writers(amqp: str, database: str, c_client: CClient, rounds: int, count: int, tell: Tell) -> ScenarioResult:
    """``count`` transactions of one row in each run, by all writers together; a relay works beside them."""
    turns = [Turn(name, partial(_write, amqp, database, c_client, way, count), note) for name, way, note in _WAYS]
    title = f"Writing into the outbox, {_WRITERS} connections, a transaction for each row, a relay beside them"
    return ScenarioResult("outbox-writers", title, rounds, alternate("outbox-writers", turns, rounds, tell))


def _write(amqp: str, database: str, c_client: CClient, way: str, count: int) -> Sample:
    """Raises RunFailedError, WrongCountError."""
    queue, queues = f"benchmark-writers-{next(_NUMBERS)}", Queues(amqp)
    queues.declare(queue, "quorum")
    total = count + _WRITERS * WARM_UP
    relaying = Job("rmqpool_relay_until_told", "main", queue, total, amqp)
    writing = Job("rmqpool_outbox_writers", way, queue, count, database, threads=_WRITERS)
    try:
        with relays_beside(relaying, database) as (relay,):
            sample = run_job(writing, c_client)
            wait_until_empty(database)
            end(relay)
        queues.expect(queue, total, total)
        return sample
    finally:
        queues.delete(queue)
