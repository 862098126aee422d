"""Programs that are forked for tests: what they are given, how they end, and that they end."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prepared import Forked, Prepared

from rmqpool.testing.waiting import wait_until

PROGRAM = """
import atexit, os, signal, sys, threading

def main():
    atexit.register(print, "the end")
    print(sys.argv[1:], os.environ["GIVEN"], os.getcwd(), os.getsid(0) == os.getpid(), sys.stdin.read())
    if sys.argv[1:] == ["wait"]:
        signal.pause()
    if sys.argv[1:] == ["raise"]:
        raise ValueError("nobody catches it")
    threading.Timer(0.1, print, ["a thread's end"]).start()
    sys.exit(sys.argv[1] if sys.argv[1:] else None)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Prepared]:
    with Prepared(["json"], (), os.environ) as prepared:
        yield prepared


def begun(server: Prepared, folder: Path, *arguments: str) -> tuple[Forked, Path]:
    """The program, and the file with all that it writes."""
    (folder / "program.py").write_text(PROGRAM)
    output = folder / "output"
    with tempfile.TemporaryFile() as given, output.open("wb") as out:
        os.pwrite(given.fileno(), b"from stdin", 0)
        streams = [given.fileno(), out.fileno(), out.fileno()]
        return server.fork("program", arguments, {"GIVEN": "a variable"}, folder, streams), output


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [((), 0, "a thread's end\nthe end\n"), (("no",), 1, "no\n"), (("raise",), 1, "ValueError: nobody catches it")],
)
def test_a_forked_program_is_one_of_its_own(
    server: Prepared, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """Arguments, environment, folder, session and streams; threads and atexit at its end; its exit code."""
    process, output = begun(server, tmp_path, *arguments)
    assert process.wait(60) == code
    text = output.read_text()
    assert f"{list(arguments)} a variable {tmp_path} True from stdin" in text
    assert told in text
    assert "the end" in text


def test_a_forked_program_is_killed_by_a_signal_and_gone_with_its_server(tmp_path: Path) -> None:
    """Minus the signal is its code; closing the server leaves nobody."""
    with Prepared(["json"], (), os.environ) as server:
        killed, _ = begun(server, tmp_path, "wait")
        assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
        left, _ = begun(server, tmp_path, "wait")
    with pytest.raises(AssertionError, match="the server of forked programs has ended"):
        left.wait(60)
    wait_until(lambda: not Path(f"/proc/{left.pid}").exists(), "its end", timeout=60)
