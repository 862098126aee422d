"""Runs the counted jobs through a worker with child processes and a retry policy, and compares each with its plan."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from rmqpool import RetryPolicy
from rmqpool import headers as names
from tests.integration.worker.child_jobs import RefusedError, work
from tests.integration.worker.conftest import Bench
from tests.integration.worker.job_plan import Ending, body_of, ending_of

__all__ = ["run_jobs"]

ATTEMPTS = 3
POISON_AFTER = 2


def run_jobs(bench: Bench, folder: Path, count: int, *, concurrency: int, timeout: float) -> str:
    """Run ``count`` jobs to their ends within ``timeout`` seconds; AssertionError if one ended elsewhere. The figures."""
    expected = {
        f"job-{number}": ending_of(number, max_attempts=ATTEMPTS, poison_after=POISON_AFTER) for number in range(count)
    }
    parked = sum(bool(ending.reason) for ending in expected.values())
    # The first delay is waited in the worker, where there is room, the second one in the broker.
    policy = RetryPolicy(ATTEMPTS, backoff=(0.2, 1), hold=0.5, give_up_on=RefusedError)
    worker = bench.worker("jobs")
    worker.consumer(
        "jobs",
        executor="process",
        concurrency=concurrency,
        retry=policy,
        time_limit=1,
        hard_time_limit=2,
        poison_after=POISON_AFTER,
    )(work)
    worker.start()
    began = time.monotonic()
    futures = []
    for number in range(count):
        body, content_type = body_of(number, str(folder))
        futures.append(
            bench.publisher.submit("jobs", body, content_type=content_type, message_id=f"job-{number}", timeout=60)
        )
    for future in futures:
        future.result()
    bench.wait(lambda: _ended(worker.stats()) >= count, "all jobs to end", timeout=timeout)
    seconds = time.monotonic() - began
    assert worker.stop()
    stats = worker.stats()
    letters = _dead_letters(bench)
    found = {name: Ending(_calls(folder / name.removeprefix("job-")), *letters.get(name, ("", 0))) for name in expected}
    wrong = {name: (found[name], ending) for name, ending in expected.items() if found[name] != ending}
    assert not wrong, f"{len(wrong)} jobs ended elsewhere (found, expected): {dict(list(wrong.items())[:5])}"
    assert letters.keys() <= expected.keys()
    assert (stats.handled, stats.parked) == (count - parked, parked)
    assert [bench.count(queue) for queue in ("jobs", "jobs.retry.1s", "jobs.dead")] == [0, 0, 0]
    reasons = Counter(reason for reason, _ in letters.values())
    return (
        f"{count} jobs in {seconds:.1f} s: {stats.handled} handled, {stats.parked} parked {dict(sorted(reasons.items()))},"
        f" {stats.held_back} retries waited in the worker, {stats.delayed} in the broker,"
        f" {stats.children_died} children died; all where the policy says"
    )


def _ended(stats: object) -> int:
    return int(stats.handled + stats.parked)  # type: ignore[attr-defined]


def _calls(file: Path) -> tuple[int, ...]:
    """The attempts of the calls; a call that succeeded is the last one, and there is one at most."""
    told = file.read_text() if file.exists() else ""
    assert "!" not in told[:-1], f"{file.name} was handled, and called again: {told}"
    return tuple(int(attempt) for attempt in told.rstrip("!"))


def _dead_letters(bench: Bench) -> dict[str, tuple[str, int]]:
    """Reason and attempt of each dead letter; none is there twice."""
    letters: dict[str, tuple[str, int]] = {}
    with bench.pool.channel() as channel:
        for letter in channel.basic_consume("jobs.dead", auto_ack=True, prefetch=1000, inactivity_timeout=1):
            assert letter.message_id not in letters, f"{letter.message_id} was parked twice"
            letters[letter.message_id or ""] = (letter.headers[names.REASON], letter.headers[names.ATTEMPT])
    return letters
