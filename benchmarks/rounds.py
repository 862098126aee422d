"""Scenarios are run in rounds: each round runs every entry once, beginning with another one each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.children import MissingClientError, RunFailedError, run_job
from benchmarks.compiling import CClient
from benchmarks.entries import C_CLIENT, Entry, Scenario
from benchmarks.job import Job
from benchmarks.queues import Queues, WrongCountError
from benchmarks.report import EntryResult, Sample, ScenarioResult
from rmqpool.testing.errors import ServicesError

__all__ = ["Rounds", "left_behind", "order_of"]

_QUEUE_NUMBERS = itertools.count(1)


@dataclass
class _Row:
    samples: list[Sample] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing: str = ""


class Rounds:
    """Runs scenarios on one broker. ``factor`` times the usual messages; ``tell`` gets a line for each run."""

    def __init__(self, url: str, c_client: CClient, factor: int, tell: Callable[[str], None]) -> None:
        self._url, self._c_client, self._factor, self._tell = url, c_client, factor, tell
        self._queues = Queues(url)

    def run(self, scenario: Scenario, rounds: int) -> ScenarioResult:
        """All rounds of one scenario. A run that fails is recorded, and the others go on."""
        rows = {entry.name: _Row() for entry in scenario.entries}
        for number in range(1, rounds + 1):
            for entry in order_of(scenario, number):
                if not rows[entry.name].missing:
                    self._run_into(rows[entry.name], entry, scenario.kind, f"{scenario.key} {number}/{rounds}")
        results = (
            EntryResult(entry.name, entry.note, row.missing, tuple(row.samples), tuple(row.failed), entry.group)
            for entry, row in zip(scenario.entries, rows.values(), strict=True)
        )
        return ScenarioResult(scenario.key, scenario.title, rounds, tuple(results), scenario.growth)

    def _run_into(self, row: _Row, entry: Entry, kind: str, label: str) -> None:
        try:
            sample = self.run_once(entry, kind)
        except MissingClientError as error:
            row.missing = str(error)
            self._tell(f"{label}: {entry.name}: missing: {error}")
        except (RunFailedError, WrongCountError, ServicesError) as error:
            row.failed.append(str(error))
            self._tell(f"{label}: {entry.name}: FAILED: {error}\n{getattr(error, 'output', '')}".rstrip())
        else:
            row.samples.append(sample)
            self._tell(f"{label}: {entry.name}: {sample.rate:,.0f} msg/s")

    def run_once(self, entry: Entry, kind: str) -> Sample:
        """One run on a queue of its own, with the count of its messages checked behind it."""
        queue = f"benchmark-{next(_QUEUE_NUMBERS)}"
        if not entry.declares:
            self._queues.declare(queue, entry.queue_type)
        try:
            if kind == "consume":
                self._fill(entry, queue)
            job = entry.job(self._url, queue, self._factor)
            sample = run_job(job, self._c_client)
            self._queues.expect(queue, *left_behind(job, kind))
            return sample
        finally:
            self._queues.delete(queue)

    def _fill(self, entry: Entry, queue: str) -> None:
        ours = (C_CLIENT, "fill") if self._c_client.program else ("rmqpool_publish", "fill")
        client, action = entry.fill or ours
        filling = Entry(entry.name, client, action, entry.count, queue_type=entry.queue_type, size=entry.size)
        job = filling.job(self._url, queue, self._factor)
        run_job(job, self._c_client)
        self._queues.expect(queue, job.count, job.count)


def left_behind(job: Job, kind: str) -> tuple[int, int]:
    """How many messages may be in the queue after a run.

    Each publishing thread sends a first message that is not measured. Behind a consumer there may be one prefetch: a
    quorum queue may drop acknowledgements that are still on their way when the channel closes, and deliver again.
    """
    if kind == "consume":
        return 0, job.prefetch
    return job.count + job.threads, job.count + job.threads


def order_of(scenario: Scenario, round_number: int) -> Iterator[Entry]:
    """The entries of round 1, 2, ...: rotated, so that none has the same neighbour's leavings in every round."""
    shift = (round_number - 1) % len(scenario.entries)
    yield from scenario.entries[shift:]
    yield from scenario.entries[:shift]
