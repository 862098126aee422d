"""The part "outbox": a private Postgres beside the broker, relays beside the C client, and what they cost."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from benchmarks.children import MissingClientError, RunFailedError
from benchmarks.compiling import CClient
from benchmarks.goals import FEW_ROWS, LATENCY_RATE, MANY_ROWS, RELAY
from benchmarks.outbox import POSTGRES_SETTINGS, RelayRuns
from benchmarks.outbox_claim import measure_claims
from benchmarks.outbox_latency import measure_latency
from benchmarks.queues import WrongCountError
from benchmarks.report import ClaimTime, EntryResult, Latency, OutboxCost, Sample, ScenarioResult
from rmqpool.outbox.migrations import migrate
from rmqpool.outbox.tables import Tables
from rmqpool.testing.services import private_postgres

__all__ = ["measure_outbox"]

_ROWS = 30_000
_LATENCY_ROWS = 1500
_FAILURES = (RunFailedError, WrongCountError, psycopg.Error, ValueError)
_OTHERS = (
    ("batches of 100", {"batch_size": 100}),
    ("batches of 500", {"batch_size": 500}),
    ("batches of 2,000", {"batch_size": 2000}),
    ("strict", {"order": "strict"}),
)
Tell = Callable[[str], None]


def measure_outbox(
    amqp: str, c_client: CClient, rounds: int, factor: int, problems: list[str], tell: Tell, *, whole: bool
) -> tuple[ScenarioResult, OutboxCost]:
    """``whole``: also what no goal is about. What fails is added to ``problems``. Raises ServicesError."""
    with private_postgres(POSTGRES_SETTINGS) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            migrate(connection, Tables())
        result, statements, wal_bytes = _relays(
            RelayRuns(amqp, server.url, c_client), rounds, _ROWS * factor, tell, whole=whole
        )
        latencies: list[Latency] = []
        for rate in (LATENCY_RATE, 1000) if whole else (LATENCY_RATE,):
            tell(f"outbox: latency at {rate:,} rows/s")
            try:
                latencies.append(measure_latency(amqp, server.url, rate, _LATENCY_ROWS))
            except _FAILURES as error:
                problems.append(f"outbox, latency at {rate:,} rows/s FAILED: {error}")
        claims: tuple[ClaimTime, ...] = ()
        tell("outbox: claims")
        try:
            claims = measure_claims(server.url, (FEW_ROWS, 100_000, MANY_ROWS) if whole else (FEW_ROWS, MANY_ROWS))
        except _FAILURES as error:
            problems.append(f"outbox, claims FAILED: {error}")
    return result, OutboxCost(tuple(statements), tuple(wal_bytes), tuple(latencies), claims)


def _relays(
    runs: RelayRuns, rounds: int, count: int, tell: Tell, *, whole: bool
) -> tuple[ScenarioResult, list[float], list[float]]:
    ours, theirs, failed, c_failed = [], [], [], []
    statements, wal_bytes, missing = [], [], ""
    for number in range(1, rounds + 1):
        tell(f"outbox: round {number}/{rounds}")
        try:
            run = runs.relay(count, {})
            ours.append(run.sample)
            statements.append(run.statements_a_row)
            wal_bytes.append(run.wal_bytes_a_row)
        except _FAILURES as error:
            failed.append(str(error))
        try:
            theirs.append(runs.c_client(count))
        except MissingClientError as error:
            missing = str(error)
        except _FAILURES as error:
            c_failed.append(str(error))
    entries = [
        EntryResult(RELAY, "batches of 1,000, order by key", samples=tuple(ours), failed=tuple(failed)),
        EntryResult("C librabbitmq", "2,000 unconfirmed", missing, tuple(theirs), tuple(c_failed)),
    ]
    for name, settings in _OTHERS if whole else ():
        tell(f"outbox: {name}")
        entries.append(_one(f"{RELAY}, {name}", lambda settings=settings: runs.relay(count, settings).sample))
    if whole:
        entries.append(_one(f"{RELAY}, classic queue", lambda: runs.relay(count, {}, "classic").sample))
    return ScenarioResult("outbox", "Relaying a filled outbox", rounds, tuple(entries)), statements, wal_bytes


def _one(name: str, run: Callable[[], Sample]) -> EntryResult:
    try:
        return EntryResult(name, "1 run", samples=(run(),))
    except _FAILURES as error:
        return EntryResult(name, "1 run", failed=(str(error),))
