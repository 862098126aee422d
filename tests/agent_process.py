"""A `rmqpool agent` in a process of its own, for tests that may kill it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rmqpool.agent.agent import Agent
from rmqpool.agent.options import AgentOptions
from rmqpool.testing.waiting import wait_until
from rmqpool.urls import parse_url

__all__ = ["AgentProcess", "LocalAgent", "agent_folder", "answers"]

_COMMAND = (sys.executable, "-W", "error", "-m", "rmqpool", "agent", "--log-format", "json", "--health", "127.0.0.1:0")
PATIENCE = 60.0  # seconds: for a machine that is much slower


def answers(path: Path) -> bool:
    """Whether something listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as knock:
        return knock.connect_ex(str(path)) == 0


@contextmanager
def agent_folder() -> Iterator[Path]:
    """A folder that is short enough for a socket's path, and open to other users."""
    with tempfile.TemporaryDirectory(prefix="rmqpool-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


class AgentProcess:
    """Started when made, ready or not. A context manager: SIGTERM at the end, and SIGKILL if that does not help."""

    def __init__(self, path: Path, broker_url: str, *options: str) -> None:
        self.path = path
        self.url = f"agent://{path}"
        self._broker_url = broker_url
        self._options = options
        self.log: list[dict[str, Any]] = []
        self.start()

    def start(self) -> None:
        """Once more, after it has ended."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RMQPOOL_SOAK_")}
        self.process = subprocess.Popen(
            [*_COMMAND, "--socket", str(self.path), *self._options],
            env={**inherited, "RMQPOOL_URL": self._broker_url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"message": line.rstrip(), "level": "none"})
        process.stderr.close()

    def wait_listening(self) -> AgentProcess:
        """Until clients may come."""
        wait_until(
            lambda: answers(self.path) or self.process.poll() is not None, "the agent's socket", timeout=PATIENCE
        )
        assert self.process.poll() is None, self.log
        return self

    def wait_ready(self) -> AgentProcess:
        """Until all its connections are up."""
        wait_until(
            lambda: self.told("health checks at") or self.process.poll() is not None, "its health", timeout=PATIENCE
        )
        assert self.process.poll() is None, self.log
        wait_until(lambda: self.health()["ready"], "the agent's connections", timeout=PATIENCE)
        return self

    def health(self) -> dict[str, Any]:
        """What it says of itself, with its figures."""
        address = self.told("health checks at")[-1].split()[3].rsplit("/", 1)[0]
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=PATIENCE) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))

    def told(self, text: str) -> list[str]:
        """The lines of its log that hold ``text``."""
        return [line["message"] for line in self.log if text in line["message"]]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        if self.process.poll() is None:
            self.kill()


class LocalAgent(logging.Handler):
    """An agent in the test's own process: it starts at once, and its figures are those of this moment. A context manager."""

    def __init__(self, path: Path, broker_url: str, **options: Any) -> None:
        super().__init__()
        self.path = path
        self.url = f"agent://{path}"
        self._messages: list[str] = []
        logging.getLogger("rmqpool").addHandler(self)
        self.agent = Agent(parse_url(broker_url), AgentOptions(str(path), **options))

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())

    def told(self, text: str) -> list[str]:
        """The lines of the log that hold ``text``."""
        return [message for message in self._messages if text in message]

    def figures(self) -> dict[str, Any]:
        """What it says of itself."""
        return self.agent.stats().as_json()

    def wait_ready(self) -> LocalAgent:
        """Until all its connections are up."""
        wait_until(lambda: self.agent.is_ready, "the agent's connections", timeout=PATIENCE)
        return self

    def __enter__(self) -> LocalAgent:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            assert self.agent.stop(PATIENCE)
        finally:
            logging.getLogger("rmqpool").removeHandler(self)
