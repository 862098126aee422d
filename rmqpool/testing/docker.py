"""RabbitMQ and Postgres in containers of the tests' own, where a Docker engine answers.

Law: one Compose project for each service, with a name of its own, so that two runs do not collide; ports on loopback
that Docker chooses. Containers outlive a SIGKILL of the tests, unlike local binaries: `docker compose ls` shows them
as rmqpool-*.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.passwords import new_password
from rmqpool.testing.postgres_server import PostgresServer, StopMode
from rmqpool.testing.processes import run_command
from rmqpool.testing.rabbitmq_node import RabbitMQNode

__all__ = ["COMPOSE_FILE", "DockerPostgres", "DockerRabbitMQ", "docker_answers"]

COMPOSE_FILE = Path(__file__).parents[2] / "compose" / "compose.yaml"
_CONFIGURATION = "/etc/rabbitmq/conf.d"
_CERTIFICATE_KEYS = ("ssl_options.cacertfile", "ssl_options.certfile", "ssl_options.keyfile")


@functools.cache
def docker_answers() -> bool:
    """Whether a Docker engine with Compose answers; asked once a process. Thread-safe."""
    if not COMPOSE_FILE.exists():
        return False
    try:
        run_command(["docker", "info"], environment=os.environ, timeout=20)
        run_command(["docker", "compose", "version"], environment=os.environ, timeout=20)
    except ServicesError:
        return False
    return True


class _Container:
    """One service of compose.yaml as a Compose project of its own."""

    def __init__(self, service: str, variables: Mapping[str, str]) -> None:
        self.service = service
        self._project = f"rmqpool-{service}-{secrets.token_hex(4)}"
        self._environment = {**os.environ, **variables}

    def compose(self, *arguments: str, timeout: float, stdin: str = "") -> str:
        command = ["docker", "compose", "--project-name", self._project, "--file", str(COMPOSE_FILE), *arguments]
        return run_command(command, environment=self._environment, timeout=timeout, stdin=stdin)

    def up(self, timeout: float) -> None:
        # The first time an image is pulled, which may take longer than any start.
        self.compose("up", "--detach", "--wait", self.service, timeout=timeout + 300)

    def port(self, number: int) -> int:
        return int(self.compose("port", self.service, str(number), timeout=20).strip().rpartition(":")[2])

    def state(self) -> str:
        lines = self.compose("ps", "--all", "--format", "json", self.service, timeout=20).splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return str(rows[0]["State"]) if rows else "absent"

    def execute(self, *command: str, timeout: float, stdin: str = "") -> str:
        return self.compose("exec", "--no-TTY", self.service, *command, timeout=timeout, stdin=stdin)

    def kill(self, signal: str = "SIGKILL") -> None:
        if self.state() in ("running", "paused"):
            self.compose("kill", "--signal", signal, self.service, timeout=30)

    def stop(self, timeout: float) -> None:
        self.compose("stop", "--timeout", str(round(timeout)), self.service, timeout=timeout + 10)

    def pause(self) -> None:
        self.compose("pause", self.service, timeout=20)

    def resume(self) -> None:
        if self.state() == "paused":
            self.compose("unpause", self.service, timeout=20)

    def remove(self) -> None:
        self.compose("down", "--volumes", "--timeout", "0", timeout=60)


class DockerRabbitMQ(RabbitMQNode):
    """A RabbitMQ container; the interface of `LocalRabbitMQ`."""

    def __init__(self, config: Mapping[str, str] | None = None, plugins: tuple[str, ...] = ()) -> None:
        self.user, self.password = "tests", new_password()
        self._plugins = plugins
        self._folder = Path(tempfile.mkdtemp(prefix="rmqpool-rabbitmq-"))
        self._folder.chmod(0o755)
        self._write_configuration(dict(config or {}))
        variables = {"RMQPOOL_SERVICES_PASSWORD": self.password, "RMQPOOL_RABBITMQ_CONFIGURATION": str(self._folder)}
        self._container = _Container("rabbitmq", variables)

    @property
    def is_running(self) -> bool:
        return self._container.state() in ("running", "paused")

    def start(self, timeout: float = 60) -> None:
        self._container.up(timeout)
        self.port, self.tls_port = self._container.port(5672), self._container.port(5671)
        if self._plugins:
            self._container.execute("rabbitmq-plugins", "enable", *self._plugins, timeout=timeout)

    def wait_ready(self, timeout: float = 60) -> None:
        self._container.up(timeout)

    def stop(self, timeout: float = 30) -> None:
        self._container.stop(timeout)

    def kill(self) -> None:
        self._container.kill()

    def pause(self) -> None:
        self._container.pause()

    def resume(self) -> None:
        self._container.resume()

    def close(self) -> None:
        self._container.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ctl(self, *arguments: str, timeout: float = 30) -> str:
        return self._container.execute("rabbitmqctl", "--quiet", *arguments, timeout=timeout)

    def evaluate_raw(self, expression: str, timeout: float) -> str:
        # rabbitmqctl takes a second or two to start its own Erlang.
        return self._container.execute("rabbitmqctl", "--quiet", "eval", expression, timeout=timeout + 10)

    def _write_configuration(self, config: dict[str, str]) -> None:
        for key in _CERTIFICATE_KEYS:
            if key in config:
                shutil.copyfile(config[key], self._folder / f"{key}.pem")
                config[key] = f"{_CONFIGURATION}/{key}.pem"
                config["listeners.ssl.default"] = "5671"
        text = "".join(f"{key} = {value}\n" for key, value in {"log.console.level": "warning", **config}.items())
        (self._folder / "90-tests.conf").write_text(text)


class DockerPostgres(PostgresServer):
    """A Postgres container; the interface of `LocalPostgres`."""

    def __init__(self, settings: str = "") -> None:
        self.password = new_password()
        self._settings = [line.replace("'", "''") for line in settings.splitlines() if line.strip()]
        self._container = _Container("postgres", {"RMQPOOL_SERVICES_PASSWORD": self.password})

    @property
    def is_running(self) -> bool:
        return self._container.state() in ("running", "paused")

    def start(self, timeout: float = 60) -> None:
        first = self._container.state() == "absent"
        self._container.up(timeout)
        if first and self._settings:
            for line in self._settings:
                self.psql(f"ALTER SYSTEM SET {line}")
            self._container.stop(timeout)
            self._container.up(timeout)
        self.port = self._container.port(5432)

    def stop(self, mode: StopMode = "fast", timeout: float = 30) -> None:
        if self.is_running:
            self.resume()
            self._container.kill({"fast": "SIGINT", "immediate": "SIGQUIT"}[mode])
            self._container.stop(timeout)  # waits for the end

    def kill(self) -> None:
        self._container.kill()

    def pause(self) -> None:
        self._container.pause()

    def resume(self) -> None:
        self._container.resume()

    def close(self) -> None:
        self._container.remove()

    def psql(self, sql: str, database: str | None = None, timeout: float = 30) -> str:
        command = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", self.user, "-d", database or self.database)
        return self._container.execute(*command, timeout=timeout, stdin=sql).rstrip("\n")
