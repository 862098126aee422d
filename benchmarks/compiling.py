"""The C client is compiled once, into the virtual environment of the benchmarks, and again when its source is newer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CClient", "compile_c_client"]

SOURCE = Path(__file__).parent / "clients" / "librabbitmq.c"
PROGRAM = Path(sys.prefix) / "librabbitmq-client"
_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class CClient:
    """The compiled program; or None, and ``problem`` says why."""

    program: Path | None
    problem: str = ""


def compile_c_client(source: Path = SOURCE, program: Path = PROGRAM) -> CClient:
    """Compile with ``gcc -O2``, unless that was done already."""
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return CClient(program)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return CClient(None, "not compiled: there is no gcc")
    command = [compiler, "-O2", "-o", str(program), str(source), "-lrabbitmq"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return CClient(None, f"not compiled: gcc took longer than {_TIMEOUT:g} s")
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), "gcc failed")
        return CClient(None, f"not compiled: {reason.rpartition('error: ')[2]} (librabbitmq-dev?)")
    return CClient(program)
