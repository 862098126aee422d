"""One run from start to end: a private broker, every part that was asked for, one report."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.children import RunFailedError
from benchmarks.compiling import CClient, compile_c_client
from benchmarks.entries import Scenario
from benchmarks.footprint import measure_footprint
from benchmarks.goals import GOALS, entries_asked_for
from benchmarks.growth import CONNECTIONS, GROWTH_THREADS, SIZES, WINDOW
from benchmarks.machine import describe_machine
from benchmarks.outbox_part import OutboxPlan, measure_outbox
from benchmarks.pool_spike import measure_pools
from benchmarks.recovery import measure_recovery
from benchmarks.report import Footprint, OutboxCost, PoolTable, Recovery, Report, ScenarioResult
from benchmarks.rounds import Rounds
from benchmarks.scenarios import CONSUME, MANY, ONE, THREADS
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.services import private_rabbitmq

__all__ = ["PARTS", "SCENARIOS", "Mode", "Plan", "measure"]

SCENARIOS: tuple[Scenario, ...] = (ONE, THREADS, MANY, CONSUME, GROWTH_THREADS, CONNECTIONS, WINDOW, SIZES)
PARTS = (*(scenario.key for scenario in SCENARIOS), "recovery", "footprint", "outbox", "pool")
_FULL_FACTOR = 4
Mode = Literal["quick", "usual", "full"]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``all_rounds`` gives also those tables all rounds that no goal is about.

    Mode quick runs what the goals compare and nothing else, but for the outbox, in short; full runs more rounds of more messages.
    """

    mode: Mode
    rounds: int
    all_rounds: bool
    factor: int
    restarts: int
    starts: int
    parts: tuple[str, ...]

    @classmethod
    def of(cls, mode: Mode, rounds: int | None, factor: int | None, parts: tuple[str, ...]) -> Plan:
        """What the mode says, and what the command line says instead."""
        full = mode == "full"
        if mode == "quick":
            about = {goal.part for goal in GOALS}
            parts = tuple(part for part in parts if part in about)
        return cls(
            mode=mode,
            rounds=rounds or (5 if full else 3),
            all_rounds=full or rounds is not None,
            factor=factor or (_FULL_FACTOR if full else 1),
            restarts={"quick": 1, "usual": 3, "full": 7}[mode],
            starts={"quick": 3, "usual": 7, "full": 15}[mode],
            parts=parts,
        )

    def scenarios(self) -> list[Scenario]:
        """The tables, with the entries that run."""
        chosen = [scenario for scenario in SCENARIOS if scenario.key in self.parts]
        return [_only_compared(scenario) for scenario in chosen] if self.mode == "quick" else chosen

    def rounds_of(self, scenario: Scenario) -> int:
        """How many rounds a table gets."""
        return self.rounds if self.all_rounds or scenario.usual_rounds is None else scenario.usual_rounds

    def outbox(self) -> OutboxPlan:
        """How much of the outbox is run."""
        other_rounds = self.rounds if self.all_rounds else 1
        return OutboxPlan(self.rounds, other_rounds, self.factor, short=self.mode == "quick")


def measure(plan: Plan, tell: Tell) -> Report:
    """Run the plan. What fails is a problem of the report; the other parts go on. ServicesError without a broker."""
    started = time.monotonic()
    c_client = compile_c_client()
    if c_client.program is None:
        tell(f"C librabbitmq is {c_client.problem}")
    problems: list[str] = []
    with private_rabbitmq() as node:
        machine = describe_machine(node.version())
        rounds = Rounds(node.amqp_url(), c_client, plan.factor, tell)
        results = tuple(rounds.run(scenario, plan.rounds_of(scenario)) for scenario in plan.scenarios())
        problems += (problem for result in results for problem in _failures(result))
        recovery = _recovery(node, plan, problems, tell)
        footprint = _footprint(node, plan, problems, tell)
        relays, outbox = _outbox(node, plan, c_client, problems, tell)
        results += relays
        problems += (problem for result in relays for problem in _failures(result))
    pools = _pools(plan, problems, tell)
    measured = sum(sample.seconds for result in results for entry in result.entries for sample in entry.samples)
    tell(f"all of it took {time.monotonic() - started:,.0f} s; clients were measured for {measured:,.0f} s")
    return Report(plan.mode, plan.parts, machine, results, recovery, footprint, outbox, pools, tuple(problems))


def _only_compared(scenario: Scenario) -> Scenario:
    asked_for = entries_asked_for(scenario.key)
    return replace(scenario, entries=tuple(entry for entry in scenario.entries if entry.name in asked_for))


def _failures(result: ScenarioResult) -> list[str]:
    return [f"{result.key}: {entry.name} FAILED: {error}" for entry in result.entries for error in entry.failed]


def _recovery(node: RabbitMQNode, plan: Plan, problems: list[str], tell: Tell) -> Recovery | None:
    if "recovery" not in plan.parts:
        return None
    try:
        return measure_recovery(node, plan.restarts, tell)
    except (RunFailedError, ServicesError) as error:
        problems.append(f"recovery FAILED: {error}")
        return None


def _footprint(node: RabbitMQNode, plan: Plan, problems: list[str], tell: Tell) -> Footprint | None:
    if "footprint" not in plan.parts:
        return None
    try:
        return measure_footprint(node.amqp_url(), plan.starts, tell)
    except (RunFailedError, ServicesError, subprocess.SubprocessError) as error:
        problems.append(f"footprint FAILED: {error}")
        return None


def _outbox(
    node: RabbitMQNode, plan: Plan, c_client: CClient, problems: list[str], tell: Tell
) -> tuple[tuple[ScenarioResult, ...], OutboxCost | None]:
    if "outbox" not in plan.parts:
        return (), None
    try:
        return measure_outbox(node.amqp_url(), c_client, plan.outbox(), problems, tell)
    except ServicesError as error:
        problems.append(f"outbox FAILED: {error}")
        return (), None


def _pools(plan: Plan, problems: list[str], tell: Tell) -> tuple[PoolTable, ...]:
    if "pool" not in plan.parts:
        return ()
    return measure_pools(plan.rounds, plan.factor, plan.mode == "quick", problems, tell)
