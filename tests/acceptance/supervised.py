"""``rmqpool worker --processes`` as a process with processes, for the tests of this folder."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rmqpool.testing.waiting import wait_until
from tests.acceptance.conftest import environment

__all__ = ["SHOP", "Supervised", "is_running", "supervised"]

SHOP = """
import os, re, time
from rmqpool import Worker

worker = Worker("shop", grace=10)


def note(file: str, order: dict) -> None:
    with open(file, "a") as written:
        written.write(f"{os.getpid()} {order['id']}\\n")


@worker.consumer("orders", concurrency=4, prefetch=16)
def handle(order: dict) -> None:
    note("begun", order)
    time.sleep(order.get("seconds", 0))
    if order.get("hang") and not os.path.exists("hung"):
        open("hung", "w").close()
        re.match(r"(a+)+$", "a" * 64 + "b")  # holds the interpreter's lock for ever
    note("handled", order)
"""


class Supervised:
    """The supervisor, what it wrote, and what its workers noted in ``folder``."""

    def __init__(self, popen: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
        self.popen = popen
        self.folder = folder
        self._log = log

    @property
    def log(self) -> str:
        """Standard output and error of all."""
        return self._log.read_text()

    def said(self, text: str, times: int = 1, timeout: float = 30.0) -> None:
        """Wait until it has said this so often."""
        wait_until(lambda: self.log.count(text) >= times, f"{times} × {text!r}", timeout=timeout)

    def started(self) -> list[int]:
        """The worker processes that were ever started."""
        return [int(pid) for pid in re.findall(r"started \(pid (\d+)\)", self.log)]

    def running(self) -> list[int]:
        """Those that run now."""
        return [pid for pid in self.started() if is_running(pid)]

    def noted(self, file: str) -> list[tuple[int, int]]:
        """Process and order of each line."""
        path = self.folder / file
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), int(order)) for pid, order in (line.split() for line in lines)]

    def handled(self) -> Counter[int]:
        """How often each order was."""
        return Counter(order for _, order in self.noted("handled"))

    def signal(self, number: int) -> None:
        """To the supervisor alone."""
        self.popen.send_signal(number)

    def end(self, timeout: float = 20.0) -> int:
        """Its exit code."""
        return self.popen.wait(timeout)


def is_running(pid: int) -> bool:
    """False for a zombie, too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@contextmanager
def supervised(folder: Path, *options: str, module: str = SHOP, **env: str) -> Iterator[Supervised]:
    """``rmqpool worker shop:worker`` with these options in ``folder``; nothing of it is left at the end."""
    (folder / "shop.py").write_text(module)
    log = folder / "log"
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            [sys.executable, "-m", "rmqpool", "worker", "shop:worker", *options],
            stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, cwd=folder,
            env=environment(PYTHONDONTWRITEBYTECODE="1", **env),
        )  # fmt: skip
    run = Supervised(popen, folder, log)
    try:
        yield run
    finally:
        popen.kill()
        popen.wait(10)
        for pid in run.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
