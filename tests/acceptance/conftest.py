"""The command as users run it: a process of its own, with an environment that holds no settings."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pytest
import trustme
from prepared import Forked, Prepared
from prepared_commands import COMMAND
from prepared_commands import clean_environment as environment

from rmqpool.cli.main import run
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.services import private_rabbitmq

# Commands that start no processes, and look at nothing of the one they are but its arguments, environment and streams.
FORKED = frozenset({"check", "config", "dlq", "doctor", "outbox", "pool", "publish", "queues", "topology"})


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What it printed on stdout, which must be one JSON object and nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err


def on_a_terminal(
    commands: Prepared, arguments: list[str], folder: Path, stream: Literal["stdout", "stderr"]
) -> tuple[int, str]:
    """Exit code, and what the command wrote to ``stream``, which is a terminal of 100 columns; the other one is lost."""
    ours, theirs = pty.openpty()
    with open(os.devnull, "r+b") as nothing:
        streams = [nothing.fileno(), *(theirs if stream == name else nothing.fileno() for name in ("stdout", "stderr"))]
        env = environment(NO_COLOR="1", TERM="xterm", COLUMNS="100")
        process = commands.fork(COMMAND, arguments, env, folder, streams)
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 4096):
            chunks.append(chunk)
    except OSError:
        pass  # Linux: EIO when the other side is closed
    finally:
        os.close(ours)
    return process.wait(60), b"".join(chunks).decode()


Run = Callable[..., Ended]


class Begun:
    """A command that runs, and what it writes."""

    def __init__(self, process: Forked, out: IO[bytes], err: IO[bytes]) -> None:
        self._process, self._out, self._err = process, out, err

    def signal(self, number: int) -> None:
        """Nothing where it has ended."""
        self._process.send_signal(number)

    def end(self, timeout: float = 90.0) -> Ended:
        """Wait for it."""
        code = self._process.wait(timeout)
        return Ended(code, *(os.pread(file.fileno(), 1 << 26, 0).decode() for file in (self._out, self._err)))


Begin = Callable[..., Begun]


@pytest.fixture
def begin(tmp_path: Path, commands: Prepared) -> Iterator[Begin]:
    """Starts ``rmqpool`` with these arguments in an empty folder, forked; it is gone at the end of the test."""
    with ExitStack() as stack:

        def start(
            *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None
        ) -> Begun:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            os.pwrite(files[0].fileno(), stdin, 0)
            streams = [file.fileno() for file in files]
            told = environment(**(env or {}))
            process = commands.fork(COMMAND, arguments, told, cwd or tmp_path, streams)
            stack.callback(process.kill_group)
            return Begun(process, *files[1:])

        yield start


@pytest.fixture
def rmqpool(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Runs ``rmqpool`` with these arguments in an empty folder, at most 90 seconds: a process of its own.

    It is forked where nothing of the command depends on how its interpreter starts.
    """

    def run_it(*arguments: str, stdin: str | bytes = b"", **where: Any) -> Ended:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        if arguments and arguments[0] in FORKED:
            begin: Begin = request.getfixturevalue("begin")
            return begin(*arguments, stdin=given, **where).end()
        env, cwd = environment(**(where.get("env") or {})), where.get("cwd") or tmp_path
        command = [sys.executable, "-m", "rmqpool", *arguments]
        ended = subprocess.run(command, input=given, capture_output=True, env=env, cwd=cwd, timeout=90, check=False)
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run_it


@pytest.fixture
def inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the same command inside this process: for the many variants of what a few processes prove."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("RMQPOOL_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    loaded = set(sys.modules)

    def run_here(*arguments: str) -> Ended:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    with warnings.catch_warnings():
        yield run_here
    for name in set(sys.modules) - loaded:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="session")
def tls_authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """PEM files: an authority, a server's certificate for ``localhost`` and its key, and an authority that nobody uses."""
    folder = tmp_path_factory.mktemp("tls")
    authority, stranger = trustme.CA(), trustme.CA()
    server = authority.issue_cert("localhost")
    files = {name: folder / f"{name}.pem" for name in ("ca", "stranger", "certificate", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    stranger.cert_pem.write_to_path(str(files["stranger"]))
    server.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    server.private_key_pem.write_to_path(str(files["key"]))
    return files


@dataclass(frozen=True)
class EquippedBroker:
    """A node with TLS and the management API, and the API's URL."""

    node: RabbitMQNode
    management_url: str


@pytest.fixture(scope="session")
def equipped_broker(tls_authority: dict[str, Path]) -> Iterator[EquippedBroker]:
    """A node with the management plugin and TLS, on ports of its own."""
    port = ReservedPort()
    config = {
        "ssl_options.cacertfile": str(tls_authority["ca"]),
        "ssl_options.certfile": str(tls_authority["certificate"]),
        "ssl_options.keyfile": str(tls_authority["key"]),
        "ssl_options.verify": "verify_none",
        "ssl_options.fail_if_no_peer_cert": "false",
        "management.tcp.ip": "127.0.0.1",
        "management.tcp.port": str(port.number),
    }
    with private_rabbitmq(config, ("rabbitmq_management",)) as node:
        node.start()
        node.command(f'rabbit_auth_backend_internal:set_tags(<<"{node.user}">>, [administrator], <<"tests">>)')
        yield EquippedBroker(node, f"http://127.0.0.1:{port.number}")
    port.release()
