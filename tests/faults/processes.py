"""Runs the programs of `faults.programs` as processes of their own, and reads what they tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prepared import Forked, Prepared

from rmqpool.testing.checker import TotalQueueChecker

__all__ = ["WARNINGS", "Ended", "environment", "fork_program", "record", "run_forked", "run_program", "start_program"]

TESTS = Path(__file__).parent.parent
# Every warning is an error in a program too; forking a process that has threads is what these tests are about.
WARNINGS = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code, what it told, its stderr, and the seconds it took."""

    code: int
    told: list[dict[str, Any]]
    stderr: str
    seconds: float

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        return [line for line in self.told if line["kind"] == kind]


def command(program: str, arguments: Sequence[object], options: Sequence[str]) -> list[str]:
    """The command line of a program."""
    return [sys.executable, *options, "-m", f"faults.programs.{program}", *(str(argument) for argument in arguments)]


def environment() -> dict[str, str]:
    """The test's own environment, with the tests importable."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in (str(TESTS), str(TESTS.parent)) if part)}


@contextmanager
def start_program(
    program: str, *arguments: object, options: Sequence[str] = WARNINGS
) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a process group of its own; at the end of the block the whole group is gone."""
    process = subprocess.Popen(
        command(program, arguments, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def run_program(program: str, *arguments: object, timeout: float, options: Sequence[str] = WARNINGS) -> Ended:
    """Run a program to its end; AssertionError with its stderr if that takes longer than ``timeout`` seconds."""
    started = time.monotonic()
    with start_program(program, *arguments, options=options) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            told = (error.stdout or b"").decode()
            raise AssertionError(f"{program} still ran after {timeout:g} s; it told:\n{told[-2000:]}") from None
        seconds = time.monotonic() - started
    return Ended(process.returncode, [json.loads(line) for line in stdout.splitlines()], stderr, seconds)


@contextmanager
def fork_program(prepared: Prepared, program: str, *arguments: object) -> Iterator[Forked]:
    """As `start_program`, forked from a process that has imported the program; its stdout is a pipe to read lines from."""
    ours, theirs = os.pipe()
    with tempfile.TemporaryFile() as nothing, tempfile.TemporaryFile() as errors, os.fdopen(ours) as told:
        try:
            streams = (nothing.fileno(), theirs, errors.fileno())
            names = [str(argument) for argument in arguments]
            process = prepared.fork(f"faults.programs.{program}", names, environment(), Path.cwd(), streams)
        finally:
            os.close(theirs)
        process.stdout, process.stderr = told, errors
        try:
            yield process
        finally:
            process.kill_group()


def run_forked(prepared: Prepared, program: str, *arguments: object, timeout: float) -> Ended:
    """As `run_program`, forked from a process that has imported the program. What it tells must fit into a pipe."""
    started = time.monotonic()
    with fork_program(prepared, program, *arguments) as process:
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{program} still ran after {timeout:g} s") from None
        seconds = time.monotonic() - started
        told = [json.loads(line) for line in process.stdout]
        process.stderr.seek(0)
        return Ended(code, told, process.stderr.read().decode(), seconds)


def record(ended: Ended, checker: TotalQueueChecker) -> None:
    """Take every publish that a program told into a checker."""
    for line in ended.of("published"):
        checker.record_attempt(line["id"])
        checker.record_publish(line["id"], line["outcome"])
