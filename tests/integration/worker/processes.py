"""Workers as processes of their own, started by the tests of this folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rmqpool.testing.waiting import wait_until

__all__ = ["HOLDING", "Process", "started"]

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

    def wait_for(self, text: str, timeout: float = 15.0) -> None:
        """Wait until it wrote ``text``."""
        wait_until(lambda: text in self.output, f"{text!r} in:\n{self.output}", timeout=timeout)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def wait(self, timeout: float = 15.0) -> int:
        """Its exit code."""
        return self.popen.wait(timeout)


@contextmanager
def started(folder: Path, script: str, *arguments: object) -> Iterator[Process]:
    """Run a script; it is killed at the end if it still runs."""
    output = folder / "output.txt"
    with output.open("wb") as file:
        popen = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield Process(popen, output)
    finally:
        popen.kill()
        popen.wait(10)
