"""Logging of a running worker: plain lines for people and files, or one JSON object a line. To stderr, never a secret.

pika logs normal reconnects as errors, with tracebacks; rmqpool tells the same in one sentence. So pika is heard only at
``--log-level debug``.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO, Any

from rmqpool.cli.redaction import redact

__all__ = ["JSONFormatter", "RecentWarnings", "TextFormatter", "set_up_logging"]

_REMEMBERED = 20  # warnings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(
    log_format: str, level: str = "info", secrets: Iterable[str] = (), stream: IO[str] | None = None
) -> RecentWarnings:
    """Send all records of this process to ``stream`` (stderr). ``log_format`` is ``text`` or ``json``.

    Returns what remembers the last warnings that were written.
    """
    formatter = JSONFormatter(secrets) if log_format == "json" else TextFormatter(secrets)
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(formatter)
    recent = RecentWarnings()
    handler.addFilter(recent)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("pika").setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL + 1)
    logging.captureWarnings(True)
    warnings.simplefilter("default", UserWarning)
    return recent


class RecentWarnings(logging.Filter):
    """Lets every record pass and remembers the last 20 warnings and errors of rmqpool: nothing needs saying twice."""

    def __init__(self) -> None:
        super().__init__()
        self._messages: deque[str] = deque(maxlen=_REMEMBERED)

    def filter(self, record: logging.LogRecord) -> bool:
        """True, always."""
        if record.name == "rmqpool" and record.levelno >= logging.WARNING:
            self._messages.append(record.getMessage())
        return True

    def tell_of(self, sentence: str) -> bool:
        """True if one of them holds ``sentence``."""
        return bool(sentence) and any(sentence in message for message in self._messages.copy())


class TextFormatter(logging.Formatter):
    """``2025-01-31T12:00:00.123Z INFO    rmqpool: message``; tracebacks follow, indented by nothing, as usual."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(utc)s %(levelname)-7s %(name)s: %(message)s")
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line (and its traceback)."""
        record.utc = _utc(record)
        return redact(super().format(record), self._secrets)


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, thread; extra fields of the record; exception."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        told: dict[str, Any] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "thread": record.threadName,
        }
        told.update({name: value for name, value in vars(record).items() if name not in _STANDARD and name not in told})
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(
            self._masked(told), ensure_ascii=False, default=lambda value: redact(repr(value), self._secrets)
        )

    def _masked(self, value: Any) -> Any:
        """Masked inside texts, before they are encoded: an encoded password may look different."""
        if isinstance(value, str):
            return redact(value, self._secrets)
        if isinstance(value, dict):
            return {str(key): self._masked(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(inner) for inner in value]
        return value


def _utc(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
