"""What is told when a command fails: one sentence, or an object for machines. Never a secret, never a stray traceback."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rmqpool.cli.exits import ExitCode, exit_code_of
from rmqpool.errors import ChannelClosedError, ConnectionFailedError, MessageError, PoolTimeoutError, RmqpoolError

__all__ = ["Failure", "ReportedError", "failure_of", "missing_extra"]

_EXTRAS = {  # the libraries of pyproject.toml's optional-dependencies
    "httpx": "http",
    "msgpack": "msgpack",
    "msgspec": "msgspec",
    "opentelemetry": "tracing",
    "prometheus_client": "metrics",
    "psycopg": "postgres",
    "psycopg_pool": "postgres",
    "watchfiles": "reload",
    "yaml": "yaml",
}


class ReportedError(RmqpoolError):
    """A failure of the command line's own. ``kind`` is its name for machines, ``detail`` more text for people."""

    def __init__(
        self, message: str, *, kind: str, exit_code: ExitCode, detail: str = "", facts: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.exit_code = exit_code
        self.detail = detail
        self.facts = dict(facts or {})


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed command: its kind (the error's class), a sentence, an exit code, more text, and facts for machines."""

    kind: str
    message: str
    exit_code: ExitCode
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        told = {"type": self.kind, "message": self.message, "exit_code": int(self.exit_code), **self.facts}
        if self.detail:
            told["detail"] = self.detail
        return {"ok": False, "error": told}


def missing_extra(error: BaseException) -> Failure | None:
    """What is told of an optional library that is not installed; None for any other error."""
    library = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if library not in _EXTRAS:
        return None
    sentence = f"{library} is not installed: pip install 'rmqpool[{_EXTRAS[library]}]'"
    return Failure(type(error).__name__, sentence, ExitCode.CONFIGURATION)


def failure_of(error: BaseException) -> Failure:
    """From an error of ours to what is told of it."""
    if isinstance(error, ReportedError):
        return Failure(error.kind, str(error), error.exit_code, error.detail, error.facts)
    cause = error.__cause__
    if isinstance(error, PoolTimeoutError) and isinstance(cause, ConnectionFailedError):
        return Failure(type(cause).__name__, str(cause), exit_code_of(cause), facts=_facts(cause))
    return Failure(type(error).__name__, str(error), exit_code_of(error), facts=_facts(error))


def _facts(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ConnectionFailedError):
        return {"stage": error.stage, "host": error.host, "port": error.port}
    if isinstance(error, ChannelClosedError):
        return {"code": error.code}
    if isinstance(error, MessageError):
        return {"field": error.field}
    return {}
