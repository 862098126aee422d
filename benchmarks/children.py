"""Client processes: each starts under a guard, has a deadline, and is gone with all its children at the end of it.

The guard (rmqpool.testing) also ends them when this process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.compiling import CClient
from benchmarks.entries import C_CLIENT
from benchmarks.job import JOB_VARIABLE, Job
from benchmarks.report import Sample
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.processes import GuardedProcess, PrivateFolder
from rmqpool.testing.waiting import wait_until

__all__ = [
    "AMQPSTORM_FOLDER",
    "Child",
    "MissingClientError",
    "RunFailedError",
    "last_json",
    "python_environment",
    "run_job",
    "run_program",
    "started",
]

ROOT = Path(__file__).parent.parent
AMQPSTORM_FOLDER = Path(sys.prefix) / "amqpstorm"  # its pamqp is another one than aiormq's
DEADLINE = 120.0  # seconds for one run, from start to end


class RunFailedError(Exception):
    """A client ended without its result, or took too long. The message holds its last line, ``output`` the end of all.

    Tracebacks name folders of this machine: they are for whoever looks on, and stay out of the report.
    """

    def __init__(self, what: str, output: str = "") -> None:
        last = output.rstrip().rpartition("\n")[2][-300:]
        super().__init__(f"{what}: {last or 'it said nothing'}")
        self.output = output.strip()[-3000:]


class MissingClientError(Exception):
    """A client that is not installed, or not compiled; the message says which and why."""


def run_job(job: Job, c_client: CClient, deadline: float = DEADLINE) -> Sample:
    """Run one client to its end. Raises MissingClientError, RunFailedError."""
    if job.client == C_CLIENT:
        answer = run_program(_c_command(job, c_client), {"BENCHMARK_URL": job.url}, deadline)
    else:
        answer = run_program(
            [sys.executable, "-m", "benchmarks.clients"],
            {**python_environment(job.client), JOB_VARIABLE: job.to_json()},
            deadline,
        )
    if "missing" in answer:
        raise MissingClientError(answer["missing"])
    return Sample(**answer)


def run_program(command: Sequence[str], environment: Mapping[str, str], deadline: float) -> dict[str, Any]:
    """Run a program until it ends; its last line of output is JSON. RunFailedError if not, or after ``deadline`` s."""
    with started(command, environment) as child:
        return child.result(deadline)


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Child]:
    """Start a program; at the end of the block it is killed with its children, if it still runs."""
    folder = PrivateFolder("benchmark", None)
    log = folder.path / "output.log"
    try:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RMQPOOL_")}
        process = GuardedProcess(
            command, folder=folder.path, log=log, environment={**inherited, **environment}, user=None
        )
        try:
            yield Child(process, log)
        finally:
            process.kill()
    finally:
        folder.remove()


class Child:
    """A program that runs, and what it has written so far."""

    def __init__(self, process: GuardedProcess, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything it has written to stdout and stderr."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Wait until the condition holds. RunFailedError if the program ends before, or after ``timeout`` seconds."""

        def holds_or_ended() -> bool:
            return condition() or not self._process.is_running

        try:
            wait_until(holds_or_ended, what, timeout=timeout, interval=0.05)
        except ServicesError as error:
            raise RunFailedError(str(error), self.output) from None
        if not condition():
            raise RunFailedError(f"it ended before {what}", self.output)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        self._process.send(number)

    def result(self, deadline: float) -> dict[str, Any]:
        """The JSON of its last line, when it has ended. RunFailedError if it has none, or after ``deadline`` seconds."""
        if not self._process.wait(deadline):
            raise RunFailedError(f"it took longer than {deadline:g} s", self.output)
        return last_json(self.output)


def last_json(output: str) -> dict[str, Any]:
    """The JSON object in the last line. RunFailedError, with the end of the output, if that is none."""
    last = output.rstrip().rpartition("\n")[2]
    try:
        answer = json.loads(last)
    except json.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise RunFailedError("it ended without a result", output)
    return answer


def python_environment(client: str = "") -> dict[str, str]:
    """What a Python child needs to find the benchmarks, and its own peer."""
    paths = [str(ROOT)]
    if client == "amqpstorm_client":
        paths.insert(0, str(AMQPSTORM_FOLDER))
    return {"PYTHONPATH": os.pathsep.join(paths)}


def _c_command(job: Job, c_client: CClient) -> list[str]:
    if c_client.program is None:
        raise MissingClientError(c_client.problem)
    numbers = (job.count, job.size, job.window, job.prefetch)
    return [str(c_client.program), job.action, job.queue, *map(str, numbers)]
