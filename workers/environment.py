"""The settings of ready-to-run workers: one variable of the environment for each field, and a sentence for each mistake."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from rmqpool.config_sources import UnknownVariableWarning
from rmqpool.errors import ConfigurationError
from rmqpool.secret import Secret

__all__ = ["SecretText", "WorkerSettings", "read_settings"]

_FILE = "_FILE"


def _as_secret(value: object) -> object:
    return Secret(value) if isinstance(value, str) else value


SecretText = Annotated[Secret, BeforeValidator(_as_secret)]


class WorkerSettings(BaseModel):
    """A field ``timeout`` is read from ``PREFIX_TIMEOUT``; its description says what it is when it is missing."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True, frozen=True, validate_default=True
    )


Given = TypeVar("Given", bound=WorkerSettings)


def read_settings(kind: type[Given], prefix: str, environment: Mapping[str, str] | None = None) -> Given:
    """The settings in ``environment`` (None: the process's own). An empty variable counts as not set.

    ``PREFIX_NAME_FILE`` names a file that holds the value, for secrets. Raises ConfigurationError, which names the
    variable and never repeats a secret. Warns of a variable that is misspelt (UnknownVariableWarning).
    """
    environment = os.environ if environment is None else environment
    _warn_of_misspelt(kind, prefix, environment)
    values: dict[str, str] = {}
    for name in kind.model_fields:
        variable = prefix + name.upper()
        text, path = environment.get(variable), environment.get(variable + _FILE)
        if text and path:
            raise ConfigurationError(f"{variable} and {variable}{_FILE} are both set: unset one of them")
        if text or path:
            values[name] = text or _contents(variable + _FILE, str(path))
    try:
        return kind(**values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = "; ".join(_told(fault, kind, prefix, values) for fault in faults)
    raise ConfigurationError(told)


def _warn_of_misspelt(kind: type[WorkerSettings], prefix: str, environment: Mapping[str, str]) -> None:
    """Near misses only: a platform has variables of its own that begin so (Kubernetes: WEBHOOK_SERVICE_HOST)."""
    known = [name.upper() for name in kind.model_fields]
    for variable in sorted(one for one in environment if one.startswith(prefix)):
        told = variable.removeprefix(prefix).removesuffix(_FILE)
        if told not in known:
            for near in difflib.get_close_matches(told, known, n=1, cutoff=0.8):
                text = f"unknown variable {variable} in the environment; did you mean {prefix}{near}?"
                warnings.warn(text, UnknownVariableWarning, stacklevel=3)


def _contents(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{variable}: {path!r} cannot be read ({reason})") from None


def _told(fault: Any, kind: type[WorkerSettings], prefix: str, values: Mapping[str, str]) -> str:
    said = str(fault["msg"]).removeprefix("Value error, ")
    if not fault["loc"]:  # of several fields together: it names them itself
        return said
    name = str(fault["loc"][0])
    variable = prefix + name.upper()
    field = kind.model_fields[name]
    if fault["type"] == "missing":
        return f"{variable} is not set: set it to {field.description}"
    is_secret = any(isinstance(one, BeforeValidator) and one.func is _as_secret for one in field.metadata)
    given = "" if is_secret or "Secret" in str(field.annotation) else f" is {values.get(name, '')!r}"
    return f"{variable}{given}: {said}"
