"""A fork in the middle of an import: the child must be able to import the same module, in any version of Python."""

import subprocess
import sys
from pathlib import Path

SLOW_MODULE = """
import threading
started, proceed = threading.Event(), threading.Event()
from __main__ import tell
tell(started)
assert proceed.wait(10)
"""

# The thread is inside the import when the process forks; it gets on a moment later, in the parent only.
PROGRAM = """
import os, signal, sys, threading, warnings
from rmqpool.late_imports import IMPORTING

warnings.simplefilter("ignore", DeprecationWarning)
started = threading.Event()
sys.modules["__main__"].tell = lambda event: started.set()

def load():
    with IMPORTING:
        import slow

thread = threading.Thread(target=load)
thread.start()
assert started.wait(10)
threading.Timer(0.2, sys.modules["slow"].proceed.set).start()
child = os.fork()
if child == 0:
    signal.alarm(5)  # a child that hangs is killed
    with IMPORTING:
        import slow
    os._exit(0)
thread.join(10)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), IMPORTING.acquire(timeout=5))
"""


def test_a_fork_waits_for_an_import_that_runs_on_another_thread(tmp_path: Path) -> None:
    """The child imports the same module and ends; the lock is free again in parent and child."""
    (tmp_path / "slow.py").write_text(SLOW_MODULE)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["0", "True"]
