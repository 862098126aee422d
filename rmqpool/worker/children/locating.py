"""A handler by its name: what a worker tells its child processes, and how they find it. As pickle and multiprocessing do it."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from pathlib import Path
from typing import Any

from rmqpool.errors import ConfigurationError
from rmqpool.worker.handlers import Handler

__all__ = ["find", "is_loading", "main_of", "reference_of"]

_MAIN = "__main__"
_STARTED_IN = Path.cwd()  # a script's path is relative to where it was started
_loading = False


def reference_of(handler: Handler) -> tuple[str, str]:
    """Module and qualified name of the handler's function. Raises ConfigurationError if a child could not find it so."""
    function: Any = handler.function
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    bound_to = getattr(function, "__self__", None)
    if not module or not qualname or (bound_to is not None and not inspect.isclass(bound_to)):
        raise ConfigurationError(_not_found(handler, "it is no plain function"))
    if "<lambda>" in qualname or "<locals>" in qualname:
        raise ConfigurationError(_not_found(handler, "it is defined inside another function, or is a lambda"))
    if module == _MAIN:
        main_of(module)
    return module, qualname


def main_of(module: str) -> dict[str, str]:
    """How a child imports the program that was started, if the handler's ``module`` is that; otherwise nothing.

    Raises ConfigurationError if there is no file to import: ``python -c``, or a prompt.
    """
    if module != _MAIN:
        return {}
    main = sys.modules[_MAIN]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        if name.rpartition(".")[2] == _MAIN:
            raise ConfigurationError(
                f"a handler in {name} cannot be imported by a child process: move it into a module of its own"
            )
        return {"init_main_from_name": name}
    file = getattr(main, "__file__", None)
    if file is None or not (_STARTED_IN / file).is_file():
        raise ConfigurationError(
            "executor='process': the handler stands in no file that a child process could import: move it into a module"
        )
    return {"init_main_from_path": os.fspath(_STARTED_IN / file)}


def find(module: str, qualname: str, main: dict[str, str]) -> Any:
    """The function, in a child. Raises what the import raises, and AttributeError if it is not there."""
    with _importing():
        if main:
            spawn.prepare(dict(main))
        found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def is_loading() -> bool:
    """True in a child process that is importing its handler: no worker may be run there."""
    return _loading


@contextmanager
def _importing() -> Iterator[None]:
    global _loading
    _loading = True
    try:
        yield
    finally:
        _loading = False


def _not_found(handler: Handler, why: str) -> str:
    return (
        f"handler {handler.name} cannot be found by a child process, because {why}: define it at the top of a module, "
        "as def or async def"
    )
