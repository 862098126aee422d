"""Tells when a .py file changes (``--reload``). watchfiles does the watching."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from rmqpool.errors import ConfigurationError

__all__ = ["FileWatch"]

_LOGGER = logging.getLogger("rmqpool")
_TURN = 250  # milliseconds after which it looks whether it is to end
_CLOSE_TIMEOUT = 2.0


class FileWatch:
    """Calls ``on_change`` with the name of a changed file, on a thread of its own. ConfigurationError without watchfiles."""

    def __init__(self, folder: Path, on_change: Callable[[str], None]) -> None:
        try:
            import watchfiles
        except ImportError:
            raise ConfigurationError("--reload needs watchfiles: pip install 'rmqpool[reload]'") from None
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        self._end = threading.Event()
        self._changes = watchfiles.watch(
            folder,
            watch_filter=watchfiles.PythonFilter(),  # leaves out .git, .venv, __pycache__ and their like
            debounce=400,
            stop_event=self._end,
            rust_timeout=_TURN,
            yield_on_timeout=True,  # the first one says that it watches
            raise_interrupt=False,
        )
        self._on_change = on_change
        self._folder = folder
        self._thread = threading.Thread(target=self._live, name="rmqpool reload", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more. Idempotent."""
        self._end.set()
        self._thread.join(_CLOSE_TIMEOUT)

    def _live(self) -> None:
        try:
            for changes in self._changes:
                if changes:
                    self._on_change(self._named(sorted(path for _, path in changes)[0]))
        except Exception:
            _LOGGER.exception("files are watched no more: restart the command to reload")

    def _named(self, path: str) -> str:
        changed = Path(path)
        return str(changed.relative_to(self._folder) if changed.is_relative_to(self._folder) else changed)
