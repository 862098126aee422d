"""The part "outbox": a private Postgres beside the broker, relays beside the C client, writers, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import psycopg

from benchmarks.alternating import FAILURES, Tell, Turn, alternate
from benchmarks.compiling import CClient
from benchmarks.goals import FEW_ROWS, LATENCY_RATE, MANY_ROWS, RELAY
from benchmarks.outbox import POSTGRES_SETTINGS, RelayRuns
from benchmarks.outbox_claim import measure_claims
from benchmarks.outbox_latency import measure_latency
from benchmarks.outbox_relays import relay_together
from benchmarks.outbox_wake_up import measure_wake_up
from benchmarks.outbox_writers import measure_writers
from benchmarks.report import ClaimTime, Latency, OutboxCost, Sample, ScenarioResult
from rmqpool.outbox.migrations import migrate
from rmqpool.outbox.tables import Tables
from rmqpool.testing.services import private_postgres

__all__ = ["OutboxPlan", "measure_outbox"]

_ROWS, _SHORT_ROWS = 30_000, 10_000
_WRITTEN, _SHORT_WRITTEN = 4000, 1500
_LATENCY_ROWS = 1500
_RATES = (LATENCY_RATE, 1000)  # transactions a second
_RELAYS = (1, 2, 4)
_CLASSIC = "classic queue"
_SETTINGS = (
    ("batches of 100", {"batch_size": 100}),
    ("batches of 500", {"batch_size": 500}),
    ("batches of 2,000", {"batch_size": 2000}),
    ("strict", {"order": "strict"}),
)


@dataclass(frozen=True, slots=True)
class OutboxPlan:
    """How much is run. ``short``: what no goal is about has one round of few rows, whatever ``other_rounds`` says."""

    rounds: int
    other_rounds: int
    factor: int
    short: bool

    def others(self) -> tuple[int, int, int]:
        """Rounds, rows relayed and rows written, of what no goal is about."""
        if self.short:
            return 1, _SHORT_ROWS, _SHORT_WRITTEN
        return self.other_rounds, _ROWS * self.factor, _WRITTEN * self.factor


@dataclass
class _Costs:
    """What the relay of the goals cost in each of its runs, for each row."""

    statements: list[float] = field(default_factory=list)
    wal_bytes: list[float] = field(default_factory=list)

    def relay(self, runs: RelayRuns, count: int) -> Sample:
        run = runs.relay(count, {})
        self.statements.append(run.statements_a_row)
        self.wal_bytes.append(run.wal_bytes_a_row)
        return run.sample


def measure_outbox(
    amqp: str, c_client: CClient, plan: OutboxPlan, problems: list[str], tell: Tell
) -> tuple[tuple[ScenarioResult, ...], OutboxCost]:
    """Every table and figure of the outbox. What fails is a problem, the rest goes on. Raises ServicesError."""
    with private_postgres(POSTGRES_SETTINGS) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            migrate(connection, Tables())
            version = connection.info.parameter_status("server_version") or ""
        costs = _Costs()
        other_rounds, rows, written = plan.others()
        results = (
            _relays(RelayRuns(amqp, server.url, c_client), costs, plan, tell),
            _relays_together(amqp, server.url, other_rounds, rows, tell),
            measure_writers(amqp, server.url, c_client, other_rounds, written, tell),
            measure_wake_up(server.url, other_rounds, written, tell),
        )
        latencies = _latencies(amqp, server.url, problems, tell)
        claims = _claims(server.url, plan, problems, tell)
    cost = OutboxCost(tuple(costs.statements), tuple(costs.wal_bytes), latencies, claims, version.partition(" ")[0])
    return results, cost


def _relays(runs: RelayRuns, costs: _Costs, plan: OutboxPlan, tell: Tell) -> ScenarioResult:
    count = _ROWS * plan.factor
    compared = (
        Turn(RELAY, partial(costs.relay, runs, count), "batches of 1,000, order by key"),
        Turn("C librabbitmq", partial(runs.c_client, count), "2,000 unconfirmed"),
    )
    rounds, few, _ = plan.others()
    note = "1 round" if rounds == 1 else ""
    others = [
        Turn(f"{RELAY}, {name}", lambda settings=settings: runs.relay(few, settings).sample, note)  # type: ignore[misc]
        for name, settings in _SETTINGS
    ]
    others += [
        Turn(f"{RELAY}, {_CLASSIC}", lambda: runs.relay(few, {}, "classic").sample, note, _CLASSIC),
        Turn(f"C librabbitmq, {_CLASSIC}", partial(runs.c_client, few, "classic"), note, _CLASSIC),
    ]
    entries = alternate("outbox", compared, plan.rounds, tell) + alternate("outbox", others, rounds, tell)
    return ScenarioResult("outbox", "Relaying a filled outbox", plan.rounds, entries)


def _relays_together(amqp: str, database: str, rounds: int, count: int, tell: Tell) -> ScenarioResult:
    turns = [
        Turn(f"{relays} relay{'s' * (relays > 1)}", partial(relay_together, amqp, database, relays, count))
        for relays in _RELAYS
    ]
    entries = alternate("outbox-relays", turns, rounds, tell)
    return ScenarioResult("outbox-relays", "Relaying, by relays (a process each)", rounds, entries, growth=True)


def _latencies(amqp: str, database: str, problems: list[str], tell: Tell) -> tuple[Latency, ...]:
    found = []
    for rate in _RATES:
        tell(f"outbox: latency at {rate:,} rows/s")
        try:
            found.append(measure_latency(amqp, database, rate, _LATENCY_ROWS))
        except FAILURES as error:
            problems.append(f"outbox, latency at {rate:,} rows/s FAILED: {error}")
    return tuple(found)


def _claims(database: str, plan: OutboxPlan, problems: list[str], tell: Tell) -> tuple[ClaimTime, ...]:
    tell("outbox: claims")
    try:
        return measure_claims(database, (FEW_ROWS, MANY_ROWS) if plan.short else (FEW_ROWS, 100_000, MANY_ROWS))
    except FAILURES as error:
        problems.append(f"outbox, claims FAILED: {error}")
        return ()
