"""Runs one service and outlives its owner just long enough to end it. A program of its own: `python guard.py`.

Law: when the owner is gone, however it died, nothing of the service is left: no process, no folder. The guard is the
parent of all the service's processes (a subreaper: daemons that fork away come back to it), and the kernel tells it
about the owner's end through a pidfd. It imports nothing of rmqpool, so that it starts in milliseconds.

Standard input: one JSON object (`Order`). Standard output: the service's process id, in one line.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TypedDict

__all__ = ["Order", "descendants"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLEAN_UP_SECONDS = 10.0


class Order(TypedDict):
    """What to run. `folder` is removed when the owner dies; `user` None means the guard's own."""

    owner: int
    command: list[str]
    environment: dict[str, str]
    folder: str
    log: str
    user: str | None


def descendants(root: int) -> list[int]:
    """The process ids of all living descendants of `root`, without `root` and without zombies."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended meanwhile
            if state not in (b"Z", b"X"):
                parents[int(entry)] = int(parent)
    found: list[int] = []
    generation = {root}
    while generation:
        generation = {process for process, parent in parents.items() if parent in generation}
        found += generation
    return found


def _run(order: Order) -> int:
    owner = os.pidfd_open(order["owner"])
    if os.getppid() != order["owner"]:
        raise ProcessLookupError("the owner died before its service started")
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with open(order["log"], "ab") as log:
        service = subprocess.Popen(
            order["command"], env=order["environment"], cwd=order["folder"], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            user=order["user"], group=order["user"], extra_groups=[] if order["user"] else None,
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
        )  # fmt: skip
    sys.stdout.write(f"{service.pid}\n")
    sys.stdout.close()
    owner_died = _wait_for_an_end(owner, os.pidfd_open(service.pid))
    _kill_descendants()
    if owner_died:
        _remove(order["folder"])
    return 0


def _wait_for_an_end(owner: int, service: int) -> bool:
    poll = select.poll()
    poll.register(owner, select.POLLIN)
    poll.register(service, select.POLLIN)
    return any(descriptor == owner for descriptor, _ in poll.poll())


def _kill_descendants() -> None:
    deadline = time.monotonic() + _CLEAN_UP_SECONDS
    while processes := descendants(os.getpid()):
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            sys.exit(f"guard: these processes do not end: {processes}")
        time.sleep(0.005)


def _remove(folder: str) -> None:
    deadline = time.monotonic() + _CLEAN_UP_SECONDS
    while os.path.exists(folder) and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)  # another guard of the same owner may be removing it too


if __name__ == "__main__":
    # Ends with the service or the owner, not with the terminal.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(_run(json.load(sys.stdin)))
