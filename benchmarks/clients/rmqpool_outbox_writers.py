"""Writers of the outbox at the same time, each a process with a connection of its own: one message a transaction.

The job's URL is that of Postgres. An action is how a sleeping relay learns of a row.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg

from benchmarks.clients.clock import Clock
from benchmarks.clients.threads import shares
from benchmarks.job import Job
from rmqpool.outbox import Outbox
from rmqpool.outbox.drivers import sync_driver_of
from rmqpool.outbox.statements import Style, insert_rows
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.writes import Writes

__all__ = ["WARM_UP", "doorbell", "none", "notify", "notifying"]

WARM_UP = 1  # first messages of each writer, which are not measured
_PATIENCE = 100.0  # seconds
_MAX_SIZE = 1024 * 1024  # bytes of a body
_CONTEXT = multiprocessing.get_context("fork")  # the parent has neither threads nor connections
Insert = Callable[[Any], object]  # takes the connection


def doorbell(job: Job, clock: Clock) -> None:
    """The outbox as it is: NOTIFY while every relay sleeps, and only then."""
    _write(job, clock, partial(Outbox().publish, queue=job.queue, body=job.body))


def none(job: Job, clock: Clock) -> None:
    """``doorbell=False``: relays find the rows by polling."""
    _write(job, clock, partial(Outbox(doorbell=False).publish, queue=job.queue, body=job.body))


def notify(job: Job, clock: Clock) -> None:
    """What the doorbell is instead of: the same statement with a NOTIFY each time."""
    tables = Tables()
    writes = Writes(tables, None, _MAX_SIZE, doorbell=False)

    def insert(connection: Any) -> None:
        write = writes.one("", job.queue, job.body, None, None, None, {})
        driver = sync_driver_of(connection)
        driver.check_transaction(connection)
        driver.execute(connection, notifying(tables, driver.style), write.parameters, tables)

    _write(job, clock, insert)


def notifying(tables: Tables, style: Style) -> str:
    """The outbox's statement for one row, with a NOTIFY each time."""
    rows = insert_rows(tables, style, ring=False)
    return f"WITH added AS (\n{rows}\n) SELECT pg_notify('{tables.channel_name}', '')"


def _write(job: Job, clock: Clock, insert: Insert) -> None:
    start = _CONTEXT.Barrier(job.threads + 1)
    counts = shares(job.count, job.threads)
    writers = [_CONTEXT.Process(target=_writer, args=(job.url, count, insert, start), daemon=True) for count in counts]
    for writer in writers:
        writer.start()
    start.wait(_PATIENCE)
    with clock:  # to the end of the processes: their CPU seconds count from then on
        for writer in writers:
            writer.join(_PATIENCE)
    failed = sum(writer.exitcode != 0 for writer in writers)
    if failed:
        raise RuntimeError(f"{failed} of {job.threads} writers did not end well within {_PATIENCE:g} s")


def _writer(url: str, count: int, insert: Insert, start: Barrier) -> None:
    with psycopg.connect(url) as connection:
        for number in range(WARM_UP + count):
            if number == WARM_UP:
                start.wait(_PATIENCE)
            insert(connection)
            connection.commit()
