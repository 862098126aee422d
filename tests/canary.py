"""A password is never shown: a pytest plugin that searches what every test leaves behind for the mark of a password.

Every service of the tests has a password with that mark. Searched are: log records with their tracebacks, captured
output, warnings, each error of ours when it is made (those that a test expects, too), unexpected errors with their
traceback, and what the processes that a test ran have written. A test that leaks fails, whatever else it proved.
"""

from __future__ import annotations

import logging
import re
import subprocess
import threading
from collections.abc import Generator
from typing import Any

import pytest

from rmqpool.errors import RmqpoolError
from rmqpool.testing.passwords import MARK

__all__ = ["Canary"]

_AROUND = 60  # characters of a leak's surroundings that are shown
_PASSWORD = re.compile(rf"{MARK}[0-9A-Za-z]*")


class Canary(logging.Handler):
    """Collects leaks; a log handler, too. Thread-safe."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._leaks: list[str] = []
        self._guard = threading.Lock()

    def search(self, text: str, where: str) -> None:
        """Note a leak if the mark is in the text."""
        at = text.find(MARK)
        if at < 0:
            return
        shown = _PASSWORD.sub("<PASSWORD>", text[max(0, at - _AROUND) : at + 2 * _AROUND])
        with self._guard:
            self._leaks.append(f"{where}: …{shown}…")

    def take(self) -> list[str]:
        """The leaks since the last call."""
        with self._guard:
            leaks, self._leaks = self._leaks, []
        return leaks

    def emit(self, record: logging.LogRecord) -> None:
        self.search(self.format(record), f"the log of {record.name}")

    def watch(self, config: pytest.Config) -> None:
        """Look at logs, errors and processes from now on, until the configuration ends."""
        patch = pytest.MonkeyPatch()
        config.add_cleanup(patch.undo)
        logging.getLogger().addHandler(self)
        config.add_cleanup(lambda: logging.getLogger().removeHandler(self))
        patch.setattr(RmqpoolError, "__init__", self._searching_init(), raising=False)
        patch.setattr(subprocess.Popen, "communicate", self._searching_communicate())

    def _searching_init(self) -> Any:
        original = RmqpoolError.__init__

        def init(error: RmqpoolError, *arguments: Any) -> None:
            original(error, *arguments)
            self.search(f"{error!s} {error!r}", f"the message of a {type(error).__name__}")

        return init

    def _searching_communicate(self) -> Any:
        original = subprocess.Popen.communicate

        def communicate(process: Any, *arguments: Any, **options: Any) -> Any:
            written = original(process, *arguments, **options)
            for stream, output in zip(("output", "error output"), written, strict=True):
                text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
                self.search(text, f"the {stream} of a process that was run")
            return written

        return communicate

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        for title, text in report.sections:
            self.search(text, title)
        if call.excinfo is not None and isinstance(call.excinfo.value, RmqpoolError):
            self.search(report.longreprtext, "the traceback")
        leaks = self.take()
        if leaks and report.passed:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} shows a password in\n" + "\n".join(leaks)
        return report

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message: Any) -> None:
        self.search(str(warning_message.message), "a warning")


def pytest_configure(config: pytest.Config) -> None:
    canary = Canary()
    canary.watch(config)
    config.pluginmanager.register(canary, "canary-watch")
