"""Whatever happens to the process that started a service, nothing of the service stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.guard import descendants
from rmqpool.testing.processes import GuardedProcess, PrivateFolder
from rmqpool.testing.waiting import wait_until

OWNER = """
import sys
from rmqpool.testing.{module} import {name}
service = {name}()
service.start()
print(service.folder, flush=True)
sys.stdin.read()
"""


def guarded(folder: PrivateFolder, script: str) -> GuardedProcess:
    """A shell script under a guard."""
    return GuardedProcess(
        ["sh", "-c", script], folder=folder.path, log=folder.path / "log", environment={"PATH": os.defpath}, user=None
    )


def is_gone(process: int) -> bool:
    """Whether there is no such process, or only what its parent has not collected yet."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in ("Z", "X")


@pytest.mark.parametrize(
    ("module", "name", "ending"),
    [
        ("rabbitmq", "LocalRabbitMQ", signal.SIGKILL),
        ("postgres", "LocalPostgres", signal.SIGKILL),
        ("postgres", "LocalPostgres", signal.SIGTERM),
        ("postgres", "LocalPostgres", signal.SIGINT),
    ],
)
def test_a_service_ends_with_its_owner(module: str, name: str, ending: signal.Signals) -> None:
    """When the Python process that started a node dies, every process of the node and its folder are gone."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(module=module, name=name)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with owner:
        assert owner.stdout
        folder = Path(owner.stdout.readline().decode().strip())
        processes = descendants(owner.pid)
        assert folder.is_dir()
        assert len(processes) >= 3
        owner.send_signal(ending)
        owner.wait(10)
        wait_until(lambda: all(map(is_gone, processes)), f"the end of {processes}", timeout=10)
        wait_until(lambda: not folder.exists(), f"{folder} to be removed", timeout=10)


def test_daemons_end_too() -> None:
    """A daemon that forked away from its service is killed with it."""
    folder = PrivateFolder("guard-test", None)
    try:
        service = guarded(folder, "setsid sh -c 'sleep 600 & echo $! >daemon; sleep 600' & sleep 600")
        wait_until(lambda: (folder.path / "daemon").exists() and (folder.path / "daemon").read_text(), "it", timeout=5)
        daemon = int((folder.path / "daemon").read_text())
        assert not is_gone(daemon)
        service.kill()
        assert not service.is_running
        wait_until(lambda: is_gone(daemon), "the end of the daemon", timeout=5)
        assert folder.path.exists()
    finally:
        folder.remove()


def test_a_missing_command_is_told() -> None:
    """A command that is not there is an error that names it."""
    folder = PrivateFolder("guard-test", None)
    try:
        with pytest.raises(ServicesError, match="no-such-command did not start"):
            GuardedProcess(["no-such-command"], folder=folder.path, log=folder.path / "log", environment={}, user=None)
    finally:
        folder.remove()
