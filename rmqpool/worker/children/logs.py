"""A child's log records go through the worker's own logging: one configuration, one stream, secrets masked as everywhere."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from rmqpool.worker.children.pipe import Pipe
from rmqpool.worker.children.protocol import Logged

__all__ = ["forward", "handle_here", "levels_here"]

_FORMATTER = logging.Formatter()


def levels_here() -> dict[str, int]:
    """The levels that were set in this process; "" is the root logger's."""
    root = logging.getLogger()
    known = list(root.manager.loggerDict.items())
    set_levels = {name: logger.level for name, logger in known if isinstance(logger, logging.Logger) and logger.level}
    return {**set_levels, "": root.level}


def forward(pipe: Pipe, levels: dict[str, int], postponed: Callable[[], AbstractContextManager[None]]) -> None:
    """Send all records of this process through ``pipe``; ``postponed`` keeps the alarm from cutting one in two."""
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    logging.getLogger().addHandler(_Forwarding(pipe, postponed))


def handle_here(record: dict[str, Any]) -> None:
    """Handle a child's record, in the worker."""
    made = logging.makeLogRecord(record)
    logger = logging.getLogger(made.name)
    if logger.isEnabledFor(made.levelno):
        logger.handle(made)


class _Forwarding(logging.Handler):
    def __init__(self, pipe: Pipe, postponed: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._pipe = pipe
        self._postponed = postponed

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises for what is in the record; not OSError either: a child whose worker is gone is about to end."""
        try:
            told = Logged(_portable(record))
        except Exception:  # noqa: BLE001 - arguments that do not fit, or cannot be shown
            self.handleError(record)
            return
        with contextlib.suppress(OSError), self._postponed():
            self._pipe.send(told)


def _portable(record: logging.LogRecord) -> dict[str, Any]:
    told = dict(vars(record))
    told.update(msg=record.getMessage(), args=None, exc_info=None, processName="child")
    if record.exc_info:
        told["exc_text"] = record.exc_text or _FORMATTER.formatException(record.exc_info)
    try:
        pickle.dumps(told)
    except Exception:  # noqa: BLE001 - an extra field of the user's, of any kind
        told = {name: value if _is_plain(value) else repr(value) for name, value in told.items()}
    return told


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (str, int, float, bool)
