"""A library that an extra brings, and that is not installed, is told with what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rmqpool.cli.exits import ExitCode
from rmqpool.cli.failures import missing_extra

LACKING = """
import sys
sys.modules.update(psycopg=None, psycopg_pool=None)
from rmqpool.cli.main import run
code = run(["outbox", "status", "--url", "postgresql://127.0.0.1:1/x"])
try:
    from rmqpool.outbox import Inbox
except Exception as error:
    print(type(error).__name__, error)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("name", "extra"), [("psycopg", "postgres"), ("opentelemetry.trace", "tracing"), ("yaml", "yaml")]
)
def test_the_extra_of_a_library_is_known(name: str, extra: str) -> None:
    """Also of a part of it."""
    failure = missing_extra(ModuleNotFoundError("no such module", name=name))
    assert failure is not None
    assert (failure.exit_code, f"'rmqpool[{extra}]'" in failure.message) == (ExitCode.CONFIGURATION, True)


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("no such module", name="shop"), ModuleNotFoundError(), KeyError()]
)
def test_other_libraries_are_nobodys_extra(error: Exception) -> None:
    """They are faults, or the user's own."""
    assert missing_extra(error) is None


def test_the_outbox_without_its_driver_says_what_to_install() -> None:
    """On the command line and where it is imported: a sentence, and no fault inside rmqpool."""
    ended = subprocess.run([sys.executable, "-c", LACKING], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == ExitCode.CONFIGURATION, ended.stderr
    assert ended.stderr == "rmqpool: psycopg is not installed: pip install 'rmqpool[postgres]'\n"
    assert ended.stdout == "ConfigurationError rmqpool.outbox.Inbox needs psycopg: pip install 'rmqpool[postgres]'\n"
