"""`make demo` as a program: it ends with nothing lost and nothing doubled, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rmqpool.testing.waiting import wait_until

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "workers.demo"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo keeps its files."""
    folder = tmp_path / "demo-files"
    folder.mkdir()
    folder.chmod(0o777)  # the servers are other users
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_the_demo_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """Orders from a file; broker, relay and worker are killed; every number of the account is as it must be."""
    lines = tmp_path / "orders.jsonl"
    lines.write_text("".join(json.dumps({"id": number, "customer": "Ada"}) + "\n" for number in range(400)))
    ended = subprocess.run(
        [*DEMO, "--jsonl", str(lines)], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    account = {name: int(count) for name, count in re.findall(r"│ ([a-z ]+?) +│ +(\d+) │", ended.stdout)}
    assert account["committed"] == account["published"] == account["handled"] > 300
    assert account["committed"] + account["rolled back"] == 400
    assert account["lost"] == account["effects doubled"] == 0
    assert ended.stdout.count("was killed with -9") == 3


def test_ctrl_c_leaves_nothing_behind(temporary: Path) -> None:
    """Neither processes nor files."""
    with subprocess.Popen(
        DEMO,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # what runs this may ignore it
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "looks into the outbox" in line:
                break
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
        assert demo.wait(30) == 130
    wait_until(lambda: not list(temporary.iterdir()), "the demo's files to be gone", timeout=10)
