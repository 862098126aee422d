"""Ctrl-C ends a run between two messages, never inside one: nothing is left out of the books."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupt"]


class Interrupt:
    """While it is entered, SIGINT and SIGTERM set ``requested``; they raise KeyboardInterrupt inside ``allowed()`` only.

    Main thread only.
    """

    def __init__(self) -> None:
        self.requested = False
        self._allowed = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Around waiting and reading: here a signal may raise KeyboardInterrupt at any moment, or at once if one came."""
        self._allowed = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def forget(self) -> None:
        """The signal was heard; the next one counts anew."""
        self.requested = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._allowed:
            self._allowed = False
            raise KeyboardInterrupt
