"""Where settings come from: the environment, files that it names, the nearest pyproject.toml. Only reads."""

from __future__ import annotations

import logging
import os
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rmqpool.errors import ConfigurationError
from rmqpool.url_options import suggestion

__all__ = ["PREFIX", "Source", "UnknownVariableWarning", "read_sources"]

PREFIX = "RMQPOOL_"
_TEST_PREFIX = "RMQPOOL_TEST_"  # those of the project's own tests
_NO_SETTINGS = frozenset({"RMQPOOL_WIRE"})  # read where it counts: rmqpool/amqp/wire_support.py
_FILE = "_FILE"

logger = logging.getLogger("rmqpool.config")


class UnknownVariableWarning(UserWarning):
    """A variable of the environment begins as the settings do, with RMQPOOL_ or a worker's prefix, but none has that name."""


class Source(NamedTuple):
    """Some settings, and what to say of where each came from."""

    values: Mapping[str, Any]
    origin: Callable[[str], str]


def read_sources(
    known: frozenset[str], environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> list[Source]:
    """The sources, strongest first. Raises ConfigurationError; warns of unknown variables."""
    environment = os.environ if environment is None else environment
    return [*_from_environment(known, environment), _from_pyproject(directory or Path.cwd())]


def _from_environment(known: frozenset[str], environment: Mapping[str, str]) -> list[Source]:
    direct: dict[str, str] = {}
    files: dict[str, str] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable.startswith(_TEST_PREFIX) or not text:
            continue
        if variable in _NO_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            direct[name] = text
        elif name.upper().endswith(_FILE) and name[: -len(_FILE)] in known:
            files[name[: -len(_FILE)]] = text
        else:
            _warn_of_unknown(variable, known)
    for name in sorted(direct.keys() & files.keys()):
        raise ConfigurationError(f"{_variable(name)} and {_variable(name)}{_FILE} are both set: unset one of them")
    contents = {name: _read_file(_variable(name) + _FILE, path) for name, path in files.items()}
    return [
        Source(direct, lambda name: f"environment {_variable(name)}"),
        Source(contents, lambda name: f"file {files[name]} (environment {_variable(name)}{_FILE})"),
    ]


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _warn_of_unknown(variable: str, known: frozenset[str]) -> None:
    text = f"unknown variable {variable} in the environment{suggestion(variable, {_variable(name) for name in known})}"
    warnings.warn(text, UnknownVariableWarning, stacklevel=5)
    logger.warning("%s", text)


def _read_file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{variable}: {path!r} cannot be read ({reason})") from None


def _from_pyproject(directory: Path) -> Source:
    path = next(
        (file for folder in (directory, *directory.parents) if (file := folder / "pyproject.toml").is_file()), None
    )
    table = {} if path is None else _read_table(path)
    return Source(
        {name.replace("-", "_"): value for name, value in table.items()}, lambda _: f"[tool.rmqpool] in {path}"
    )


def _read_table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}") from error
    table = document.get("tool", {})
    table = table.get("rmqpool", {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: tool.rmqpool must be a table, [tool.rmqpool]")
    return table
