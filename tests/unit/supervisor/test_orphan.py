"""A worker process ends after its supervisor whatever its handlers do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rmqpool.testing.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")

HOLDING = """
import re
from rmqpool.supervisor.orphan import end_with_the_supervisor
end_with_the_supervisor({number})
print(flush=True)
re.match(r"(a+)+$", "a" * 64 + "b")  # holds the interpreter's lock for ever
"""
HEARING = """
import signal
from rmqpool.supervisor.orphan import end_after, end_with_the_supervisor
end_with_the_supervisor({number})
end_after(600, {number})
print(flush=True)
signal.pause()
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@contextmanager
def orphaned(program: str) -> Iterator[int]:
    """The id of a process that runs ``program`` and was ready when its parent was killed."""
    source = program.format(number=int(signal.SIGQUIT))  # so many seconds: 3
    parent = subprocess.Popen([sys.executable, "-c", PARENT, source], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait(30)
    parent.stdout.close()
    try:
        yield pid
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """False for a zombie, too."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ignores(pid: int, number: int) -> bool:
    """Whether the process ignores a signal, as the kernel has it."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        ignored = next(line.split()[1] for line in file if line.startswith("SigIgn"))
    return bool(int(ignored, 16) >> (number - 1) & 1)


def test_a_process_that_holds_the_interpreters_lock_ends_after_its_parent() -> None:
    """No Python runs in it any more: the kernel and the C library end it."""
    with orphaned(HOLDING) as pid:
        wait_until(lambda: not is_running(pid), "the end of the orphan", timeout=30)


def test_a_process_that_heard_of_the_end_has_the_time_that_it_says() -> None:
    """The kernel's word, which may come later, does not shorten it."""
    with orphaned(HEARING) as pid:
        assert is_running(pid)
        assert ignores(pid, signal.SIGQUIT), "the kernel's word would set the alarm"
