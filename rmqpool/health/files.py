"""Health as two files, for probes that run a command. Both are gone at the end, and what an earlier run left at the start.

The file of liveness is touched every second: a process that hangs as a whole cannot remove it, so a probe looks at its age.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from pathlib import Path

from rmqpool.errors import ConfigurationError
from rmqpool.health.values import Health

__all__ = ["HealthFiles"]

_LOGGER = logging.getLogger("rmqpool")
_TOUCH_EVERY = 1.0  # seconds


class HealthFiles:
    """``live``: there and fresh while the worker is alive; ``ready``: there while it is ready. None: no such file.

    Raises ConfigurationError if one cannot be written.
    """

    def __init__(self, live: Path | None, ready: Path | None) -> None:
        self._live = None if live is None else _File(live)
        self._ready = None if ready is None else _File(ready)
        self._touched_at: float | None = None

    def show(self, health: Health) -> None:
        """Make, touch or remove them."""
        if self._ready is not None:
            self._ready.set(health.ready)
        if self._live is None:
            return
        now = time.monotonic()
        if not health.alive:
            self._touched_at = None
            self._live.set(False)
        elif self._touched_at is None or now - self._touched_at >= _TOUCH_EVERY:
            self._touched_at = now
            self._live.touch()

    def close(self) -> None:
        """Remove them."""
        for file in (self._live, self._ready):
            if file is not None:
                file.set(False)


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._told = False
        try:
            self._path.unlink(missing_ok=True)
            with tempfile.TemporaryFile(dir=self._path.parent):  # what cannot be written later is a mistake now
                pass  # not the file itself: a probe would take it for readiness
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}; its folder must be there") from None

    def set(self, there: bool) -> None:
        if there and not self._path.exists():
            self.touch()
        elif not there:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def touch(self) -> None:
        try:
            self._path.touch()
            self._told = False
        except OSError as error:
            if not self._told:
                self._told = True
                _LOGGER.warning("cannot touch %s: %s", self._path, error.strerror)
