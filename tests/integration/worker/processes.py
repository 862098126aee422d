"""Workers as processes of their own, started by the tests of this folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rmqpool.testing.waiting import wait_until

__all__ = ["HOLDING", "Process", "children_of", "started"]

HOLDING = """
import asyncio, logging, os, sys, threading
from rmqpool import Worker
from rmqpool.worker import end_process
logging.basicConfig(level="INFO", stream=sys.stdout)
worker = Worker("process", sys.argv[1])
seconds = float(sys.argv[2])
stuck = threading.Event()

@worker.consumer("orders", concurrency=2)
def handle(order: dict) -> None:
    print("begun", order["id"], flush=True)
    stuck.wait(seconds)
    print("ended", order["id"], flush=True)

@worker.consumer("stuck")
async def handle_stuck(order: dict) -> None:
    print("begun", order["id"], flush=True)
    await asyncio.to_thread(stuck.wait, seconds)

code = worker.run(grace=float(sys.argv[3]))
print(worker, flush=True)
end_process(code, abandoned=worker.stats().abandoned)
"""


class Process:
    """A worker process and what it wrote so far."""

    def __init__(self, popen: "subprocess.Popen[bytes]", output: Path) -> None:
        self.popen = popen
        self._output = output

    @property
    def output(self) -> str:
        """Standard output and error."""
        return self._output.read_text()

    def wait_for(self, text: str, timeout: float = 40.0) -> None:
        """Wait until it wrote ``text``."""
        wait_until(lambda: text in self.output, f"{text!r} in:\n{self.output}", timeout=timeout)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def wait(self, timeout: float = 15.0) -> int:
        """Its exit code."""
        return self.popen.wait(timeout)


@contextmanager
def started(folder: Path, script: str | Path, *arguments: object) -> Iterator[Process]:
    """Run a script, or the file that holds one; it is killed at the end if it still runs."""
    program = [str(script)] if isinstance(script, Path) else ["-c", script]
    output = folder / "output.txt"
    with output.open("wb") as file:
        popen = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield Process(popen, output)
    finally:
        popen.kill()
        popen.wait(10)


def children_of(process: int | None = None) -> list[int]:
    """The child processes of a worker (of this process) that run handlers now; one that waits to be buried does not."""
    listed = ["ps", "-ww", "-o", "pid=,stat=,args=", "--ppid", str(process or os.getpid())]
    rows = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.splitlines()
    split = [row.split(None, 2) for row in rows]
    return [int(pid) for pid, state, args in split if "children.child" in args and not state.startswith("Z")]
