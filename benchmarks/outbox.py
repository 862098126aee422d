"""P7: how fast a relay empties the outbox, beside the C client that publishes as much to the same broker, alternating."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.children import RunFailedError, python_environment, run_job, run_program
from benchmarks.compiling import CClient
from benchmarks.entries import C_CLIENT
from benchmarks.job import JOB_VARIABLE, Job, QueueType
from benchmarks.queues import Queues
from benchmarks.report import Sample
from rmqpool.outbox import Outbox

__all__ = ["POSTGRES_SETTINGS", "OutboxRun", "RelayRuns"]

POSTGRES_SETTINGS = "fsync = on\nfull_page_writes = on\nshared_buffers = 256MB\n"
_AT_ONCE = 1000  # rows of one statement that fills the outbox
_DEADLINE = 120.0  # seconds for one run
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class OutboxRun:
    """One relay's window, and what it cost Postgres. ``wal_bytes`` are of the whole run, without a checkpoint in it."""

    sample: Sample
    statements: int
    wal_bytes: int

    @property
    def statements_a_row(self) -> float:
        """Statements on the relay's connections, for each row."""
        return self.statements / self.sample.messages

    @property
    def wal_bytes_a_row(self) -> float:
        """Bytes of write-ahead log, for each row."""
        return self.wal_bytes / self.sample.messages


class RelayRuns:
    """Runs of a relay and of the C client on one broker and one migrated database. Not thread-safe."""

    def __init__(self, amqp: str, database: str, c_client: CClient) -> None:
        self._amqp = amqp
        self._database = database
        self._c_client = c_client
        self._queues = Queues(amqp)

    def relay(self, count: int, settings: Mapping[str, Any], queue_type: QueueType = "quorum") -> OutboxRun:
        """Fill the outbox, and let one relay empty it. Raises RunFailedError, WrongCountError."""
        queue = f"benchmark-outbox-{next(_NUMBERS)}"
        self._queues.declare(queue, queue_type)
        try:
            job = Job("rmqpool_relay", "main", queue, count, self._amqp, queue_type)
            self._checkpoint()  # before, so that none falls in between: full pages would be counted as the deletes'
            self._fill(job)
            before = self._wal_position()
            environment = {
                **python_environment(),
                JOB_VARIABLE: job.to_json(),
                "BENCHMARK_DATABASE": self._database,
                "BENCHMARK_RELAY": json.dumps(dict(settings)),
            }
            answer = run_program([sys.executable, "-m", "benchmarks.clients.rmqpool_relay"], environment, _DEADLINE)
            wal_bytes = self._wal_position() - before
            self._queues.expect(queue, count, count)
            left = self._value("SELECT count(*) FROM rmqpool_outbox")
            if left:
                raise RunFailedError(f"{left:,} rows were left in the outbox")
            sample = Sample(**{field: answer[field] for field in ("messages", "seconds", "cpu_seconds", "peak_bytes")})
            return OutboxRun(sample, answer["statements"], wal_bytes)
        finally:
            self._queues.delete(queue)

    def c_client(self, count: int, queue_type: QueueType = "quorum") -> Sample:
        """The C client's pipelined publishing. Raises MissingClientError, RunFailedError."""
        queue = f"benchmark-outbox-{next(_NUMBERS)}"
        self._queues.declare(queue, queue_type)
        try:
            return run_job(Job(C_CLIENT, "publish", queue, count, self._amqp, queue_type), self._c_client)
        finally:
            self._queues.delete(queue)

    def _fill(self, job: Job) -> None:
        outbox = Outbox(doorbell=False)
        with psycopg.connect(self._database) as connection:
            for start in range(0, job.count, _AT_ONCE):
                bodies = [job.body] * min(_AT_ONCE, job.count - start)
                outbox.publish_many(connection, job.queue, bodies)
                connection.commit()
        with psycopg.connect(self._database, autocommit=True) as connection:
            connection.execute("ANALYZE rmqpool_outbox")

    def _checkpoint(self) -> None:
        with psycopg.connect(self._database, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def _wal_position(self) -> int:
        return int(self._value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def _value(self, sql: str) -> Any:
        with psycopg.connect(self._database, autocommit=True) as connection:
            row = connection.execute(sql.encode()).fetchone()
            return row[0] if row else None
