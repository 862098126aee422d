"""Private services as processes: started under a guard, run as a fitting user, in a private folder.

Law: a process started here ends at the latest with the Python process that started it (see `guard.py`).
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rmqpool.testing import guard
from rmqpool.testing.errors import ServicesError
from rmqpool.testing.waiting import wait_until

__all__ = ["GuardedProcess", "PrivateFolder", "run_command", "service_user"]


def service_user(name: str) -> str | None:
    """The user to run a service as: `name` when we are root, otherwise None, for the user we are.

    Raises `ServicesError` when root has no such user to switch to (these services refuse to run as root, or should).
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise ServicesError(
            f"There is no user {name!r} to run the service as; its Debian package creates it."
        ) from None
    return name


class PrivateFolder:
    """A folder under /var/tmp that belongs to `user` and is removed by `remove`."""

    def __init__(self, prefix: str, user: str | None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"rmqpool-{prefix}-", dir="/var/tmp"))
        self.user = user
        self._own(self.path)

    def folder(self, name: str) -> Path:
        """Makes the sub-folder `name`."""
        path = self.path / name
        path.mkdir(mode=0o700)
        self._own(path)
        return path

    def file(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        """Writes the file `name`, whole."""
        path = self.path / name
        path.unlink(missing_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        self._own(path)
        return path

    def remove(self) -> None:
        """Removes the folder and all in it; may be called twice."""
        if self.path.exists():
            shutil.rmtree(self.path)

    def _own(self, path: Path) -> None:
        if self.user is not None:
            shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)


class GuardedProcess:
    """One running service under its guard. Not thread-safe.

    Raises `ServicesError` when the command cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str], user: str | None
    ) -> None:
        order = guard.Order(
            owner=os.getpid(), command=list(command), environment=dict(environment), folder=str(folder), log=str(log),
            user=user,
        )  # fmt: skip
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._guard.stdin
        assert self._guard.stdout
        assert self._guard.stderr
        with self._guard.stdin as stdin, self._guard.stdout as stdout:
            stdin.write(json.dumps(order).encode())
            stdin.close()
            answer = stdout.readline()
        if not answer:
            message = self._guard.stderr.read().decode().strip().rpartition("\n")[2]
            self._wait(10)
            raise ServicesError(f"{command[0]} did not start: {message}")
        self.pid = int(answer)

    @property
    def is_running(self) -> bool:
        """Whether the service, or anything of it, still runs (a stopped one does)."""
        if self._guard.poll() is None:
            return True
        self._close()
        return False

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the service's first process; nothing happens when it has ended."""
        _send(self.pid, number, alive=self.is_running)

    def send_all(self, number: signal.Signals) -> None:
        """Sends a signal to every process of the service."""
        for process in guard.descendants(self._guard.pid) if self.is_running else []:
            _send(process, number, alive=True)

    def pause_all(self) -> None:
        """Stops every process of the service (SIGSTOP), and returns when each of their threads stands still."""
        self.send_all(signal.SIGSTOP)
        processes = guard.descendants(self._guard.pid)
        wait_until(lambda: all(map(_stands_still, processes)), "the processes to stand still", timeout=5)

    def wait(self, timeout: float) -> bool:
        """Waits for the end of all the service's processes; whether it came within `timeout` seconds."""
        try:
            self._wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self, timeout: float = 10) -> None:
        """Kills every process of the service and waits for their end."""
        self.send_all(signal.SIGKILL)
        if not self.wait(timeout):
            raise ServicesError(f"Process {self.pid} and its children still run {timeout:g} s after SIGKILL.")

    def _wait(self, timeout: float) -> None:
        self._guard.wait(timeout)
        self._close()

    def _close(self) -> None:
        assert self._guard.stderr
        self._guard.stderr.close()


def _send(process: int, number: signal.Signals, *, alive: bool) -> None:
    if alive:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            return  # ended meanwhile


def run_command(
    command: Sequence[str], *, environment: Mapping[str, str], timeout: float, user: str | None = None, stdin: str = "",
    cwd: Path | None = None,
) -> str:  # fmt: skip
    """Runs a command to its end and returns its standard output.

    Raises `ServicesError` with the last line it wrote when it fails or takes longer than `timeout` seconds.
    """
    try:
        done = subprocess.run(
            command, env=dict(environment), input=stdin.encode(), capture_output=True, timeout=timeout, cwd=cwd,
            user=user, group=user, extra_groups=[] if user else None, start_new_session=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ServicesError(f"{Path(command[0]).name} took longer than {timeout:g} s.") from None
    except FileNotFoundError:
        raise ServicesError(f"{command[0]} is not installed.") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ServicesError(f"{Path(command[0]).name} ended with code {done.returncode}: {said[-2000:]}")
    return done.stdout.decode(errors="replace")


def _stands_still(process: int) -> bool:
    """Whether every thread of a process is stopped (or gone); True where there is no /proc to tell."""
    try:
        states = [
            path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{process}/task").glob("*/stat")
        ]
    except OSError:  # a thread, or the process, ended meanwhile
        return False
    return all(state in "TtZX" for state in states)
