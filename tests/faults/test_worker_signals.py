"""Row 22 of the fault matrix: `rmqpool worker` gets SIGTERM, SIGINT, a second signal, or SIGKILL in the middle of its jobs."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from prepared import Forked, Prepared
from prepared_commands import COMMAND

from faults.harness import until
from faults.parked import Foreign, publish_foreign, remaining_in
from faults.processes import environment
from rmqpool import ConnectionPool, Queue

JOBS = 10
RUNNING = 2  # what slow_worker handles at once


@dataclass
class Jobs:
    """A queue of ten jobs, and the file in which workers write what they do."""

    commands: Prepared
    url: str
    queue: str
    file: Path

    def lines(self, word: str) -> list[str]:
        """The names of the jobs that began, or ended, so far."""
        if not self.file.exists():
            return []
        return [line.split()[1] for line in self.file.read_text().splitlines() if line.startswith(word)]

    @contextmanager
    def worker(self, seconds: float, grace: float = 20.0, *options: str) -> Iterator[Running]:
        """A worker process whose jobs take ``seconds``; killed at the end of the block if it still runs."""
        arguments = ["worker", "faults.programs.slow_worker:worker", "--grace", str(grace), *options]
        settings = {
            "RMQPOOL_URL": self.url,
            "JOBS_QUEUE": self.queue,
            "JOBS_FILE": str(self.file),
            "JOBS_SECONDS": str(seconds),
        }
        with tempfile.TemporaryFile() as stderr, open(os.devnull, "r+b") as nothing:
            streams = [nothing.fileno(), nothing.fileno(), stderr.fileno()]
            told = {**environment(), **settings}
            process = self.commands.fork(COMMAND, arguments, told, Path.cwd(), streams)
            try:
                yield Running(process, stderr)
            finally:
                process.kill_group()


@dataclass
class Running:
    """A worker process, and its stderr."""

    process: Forked
    stderr: IO[bytes]

    def said(self) -> str:
        """On stderr, so far."""
        return os.pread(self.stderr.fileno(), 1 << 20, 0).decode()


@pytest.fixture
def jobs(commands: Prepared, vhost_url: str, queue_name: str, tmp_path: Path) -> Jobs:
    """Ten jobs that wait."""
    with ConnectionPool(vhost_url) as pool:
        pool.declare([Queue(queue_name)])
    messages = [Foreign(f"job-{number}", f"job-{number}".encode(), "text/plain") for number in range(JOBS)]
    publish_foreign(vhost_url, queue_name, messages)
    return Jobs(commands, vhost_url, queue_name, tmp_path / "jobs.txt")


def in_the_middle(jobs: Jobs) -> None:
    """Wait until a worker works on as many jobs as it may."""
    until(lambda: len(jobs.lines("begin")) >= RUNNING, "jobs that began", timeout=20)


def finish_the_rest(jobs: Jobs) -> None:
    """A second worker does what the first did not: afterwards every job has ended, and the queue is empty."""
    with jobs.worker(0.0, 20.0, "--burst") as running:
        assert running.process.wait(60) == 0, running.said()
    assert set(jobs.lines("end")) == {f"job-{number}" for number in range(JOBS)}, "a job was lost"
    assert remaining_in(jobs.url, jobs.queue) == 0
    assert remaining_in(jobs.url, f"{jobs.queue}.dead") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_running_jobs_end_and_gives_the_rest_back(jobs: Jobs, number: signal.Signals) -> None:
    """What runs ends and is acknowledged, nothing new begins, the rest goes back; exit code 0."""
    with jobs.worker(1.5) as running:
        in_the_middle(jobs)
        running.process.send_signal(number)
        assert running.process.wait(30) == 0, running.said()
        assert "Traceback" not in running.said()
    assert len(jobs.lines("begin")) == len(jobs.lines("end")) == RUNNING
    assert remaining_in(jobs.url, jobs.queue) == JOBS - RUNNING
    finish_the_rest(jobs)
    assert len(jobs.lines("end")) == JOBS, "no job was done twice"


def test_jobs_that_outlive_the_grace_period_go_back(jobs: Jobs) -> None:
    """At the end of the grace period the worker ends, with 0, and gives back even what it was working on."""
    with jobs.worker(60.0, 0.5) as running:
        in_the_middle(jobs)
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0, running.said()
        seconds = time.monotonic() - started
        assert "abandoned" in running.said()
    assert 0.4 < seconds < 20.0
    assert jobs.lines("end") == []
    until(lambda: remaining_in(jobs.url, jobs.queue) == JOBS, "every job back in the queue")
    finish_the_rest(jobs)


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGTERM, signal.SIGTERM, 143), (signal.SIGINT, signal.SIGINT, 130), (signal.SIGTERM, signal.SIGINT, 130)],
)
def test_second_signal_ends_it_at_once(jobs: Jobs, first: signal.Signals, second: signal.Signals, code: int) -> None:
    """A second signal does not wait for the grace period; the exit code names it, and the jobs come again."""
    with jobs.worker(60.0, 60.0) as running:
        in_the_middle(jobs)
        running.process.send_signal(first)
        until(lambda: "stopping, a second signal forces it" in running.said(), "it to stop", timeout=30)
        started = time.monotonic()
        running.process.send_signal(second)
        assert running.process.wait(30) == code
        assert time.monotonic() - started < 20.0  # of 60
    until(lambda: remaining_in(jobs.url, jobs.queue) == JOBS, "every job back in the queue")
    finish_the_rest(jobs)


def test_sigkill_loses_nothing(jobs: Jobs) -> None:
    """Killed in the middle: what was not acknowledged is delivered again, flagged as such, to the next worker."""
    with jobs.worker(60.0) as running:
        in_the_middle(jobs)
        running.process.kill()
        assert running.process.wait(10) == -signal.SIGKILL
    begun = set(jobs.lines("begin"))
    assert jobs.lines("end") == []
    until(lambda: remaining_in(jobs.url, jobs.queue) == JOBS, "every job back in the queue")
    finish_the_rest(jobs)
    redelivered = {
        line.split()[1] for line in jobs.file.read_text().splitlines() if line.startswith("end") and line[-1] == "1"
    }
    assert begun <= redelivered
