"""Who plays in the demo: a private broker and Postgres, the service, a relay, two workers. All end with the demo."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from rmqpool.testing.rabbitmq import RabbitMQNode

__all__ = ["Cast", "Process", "Tail"]

_PROJECT = Path(__file__).resolve().parents[2]


_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """In the child, before it becomes its program: even kill -9 of the demo leaves nobody behind (Linux)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Tail:
    """Reads whole lines as they are appended to a file that may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = b""

    def __iter__(self) -> Iterator[str]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = self._rest + file.read()
            self._position = file.tell()
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            yield line.decode()


class Process:
    """A child in a process group of its own; its output goes to a file, shown only when something is wrong."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.output = folder / f"{name.replace(' ', '-')}.log"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=_PROJECT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def is_running(self) -> bool:
        """It has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        if self.is_running:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self, timeout: float) -> int:
        """SIGTERM; returns the exit code. A process that does not end in time is killed."""
        if self.is_running:
            self._process.terminate()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def last_words(self, lines: int = 15) -> str:
        """The end of its output."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])


class Cast:
    """The processes around a broker and a database. A context manager: everybody is gone afterwards, also after Ctrl-C."""

    def __init__(self, broker: RabbitMQNode, database: str, folder: Path) -> None:
        self.broker = broker
        self.database = database
        self.folder = folder
        self._processes: list[Process] = []

    @property
    def rollbacks(self) -> Path:
        """The file of the message ids that were rolled back."""
        return self.folder / "service.rollbacks"

    def service(self, count: int, rate: float, jsonl: Path | None) -> Process:
        """Start the service that takes orders."""
        command = ["-m", "workers.demo.service", "--log", str(self.rollbacks)]
        command += ["--count", str(count), "--rate", str(rate)]
        command += ["--jsonl", str(jsonl.resolve())] if jsonl else []
        return self._start("service", command, {})

    def relay(self, number: int) -> Process:
        """Start a relay."""
        return self._start(f"relay {number}", ["-m", "rmqpool", "outbox", "relay", "--name", f"relay {number}"], {})

    def worker(self, number: int) -> Process:
        """Start a worker; it writes its number beside what it handled."""
        command = ["-m", "rmqpool", "worker", "workers.orders:worker", "--concurrency", "8", "--grace", "10"]
        return self._start(f"worker {number}", command, {"ORDERS_WORKER": str(number)})

    def _start(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Process:
        urls = {"RMQPOOL_URL": self.broker.amqp_url(), "RMQPOOL_POSTGRES_URL": self.database}
        process = Process(name, [sys.executable, *arguments], {**urls, **environment}, self.folder)
        self._processes.append(process)
        return process

    def __enter__(self) -> Cast:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
