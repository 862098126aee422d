"""benchmarks/children.py: client processes end, with a result or with an error that says why."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.children import MissingClientError, RunFailedError, last_json, run_job, run_program
from benchmarks.compiling import CClient, compile_c_client
from benchmarks.job import Job
from rmqpool.testing.waiting import wait_until

HANGS_WITH_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def run_python(program: str, deadline: float = 20.0) -> dict[str, object]:
    return run_program([sys.executable, "-c", program], {}, deadline)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_last_line_is_the_result() -> None:
    """What a client says before does not matter."""
    assert last_json('a warning\n{"messages": 3}\n') == {"messages": 3}


@pytest.mark.parametrize("output", ["", "Traceback\nValueError: no", "3", '["a list"]', '{"half": '])
def test_output_without_a_result_is_a_failure(output: str) -> None:
    """A client that ended some other way has not measured anything."""
    with pytest.raises(RunFailedError):
        last_json(output)


def test_an_error_says_the_last_line_only() -> None:
    """Tracebacks name files of this machine: they are not in the sentence that goes into the report."""
    with pytest.raises(RunFailedError) as caught:
        last_json('File "/home/me/x.py", line 1\nValueError: no such thing')
    assert str(caught.value) == "it ended without a result: ValueError: no such thing"
    assert "/home/me" in caught.value.output


def test_a_program_gives_its_result() -> None:
    """A real process, from start to end."""
    assert run_python("print('{\"messages\": 5}')") == {"messages": 5}


def test_a_program_that_fails_is_told_with_its_error() -> None:
    """The exception of the child is the reason."""
    with pytest.raises(RunFailedError, match="ZeroDivisionError"):
        run_python("1 / 0")


def test_a_program_that_hangs_is_killed_with_its_children() -> None:
    """The deadline ends it, and nothing of it is left."""
    with pytest.raises(RunFailedError, match="longer than") as caught:
        run_python(HANGS_WITH_A_CHILD, deadline=1.5)
    child = int(caught.value.output)
    wait_until(lambda: is_gone(child), "the child's child to be gone", timeout=5)


def test_settings_of_rmqpool_do_not_reach_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults are measured, whatever the environment of the person who measures says."""
    monkeypatch.setenv("RMQPOOL_HEARTBEAT", "7")
    names = run_python("import json, os; print(json.dumps({'names': sorted(os.environ)}))")["names"]
    assert isinstance(names, list)
    assert "PATH" in names
    assert "RMQPOOL_HEARTBEAT" not in names


def test_a_c_client_that_was_not_compiled_is_missing() -> None:
    """It has the compiler's reason, and no rate."""
    with pytest.raises(MissingClientError, match="no gcc"):
        run_job(Job("librabbitmq", "publish", "queue", 1), CClient(None, "not compiled: there is no gcc"))


def test_source_that_does_not_compile_is_no_client(tmp_path: Path) -> None:
    """The reason is kept for the table; with no compiler at all the reason is that."""
    source = tmp_path / "broken.c"
    source.write_text("int main(void) { return nonsense; }")
    client = compile_c_client(source, tmp_path / "program")
    assert client.program is None
    assert client.problem.startswith("not compiled: ")
