"""The command as users run it: a process of its own, with an environment that holds no settings."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme

from rmqpool.cli.main import run
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.services import private_rabbitmq

_ROOT = Path(__file__).parents[2]


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


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of rmqpool, and with this checkout importable from any folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RMQPOOL_")}
    kept.pop("NO_COLOR", None)
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "", **more}


def on_a_terminal(arguments: list[str], folder: Path, stream: Literal["stdout", "stderr"]) -> tuple[int, str]:
    """Exit code, and what the command wrote to ``stream``, which is a terminal of 100 columns; the other one is lost."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rmqpool", *arguments],
        stdout=theirs if stream == "stdout" else subprocess.DEVNULL,
        stderr=theirs if stream == "stderr" else subprocess.DEVNULL,
        env=environment(NO_COLOR="1", TERM="xterm", COLUMNS="100"),
        cwd=folder,
    )
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 4096):
            chunks.append(chunk)
    except OSError:
        pass  # Linux: EIO when the other side is closed
    finally:
        os.close(ours)
    return process.wait(timeout=60), b"".join(chunks).decode()


Run = Callable[..., Ended]


@pytest.fixture
def rmqpool(tmp_path: Path) -> Run:
    """Runs ``rmqpool`` with these arguments in an empty folder, at most 90 seconds."""

    def start(
        *arguments: str, stdin: str | bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "rmqpool", *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=environment(**(env or {})),
            cwd=cwd or tmp_path,
            timeout=90,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return start


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
