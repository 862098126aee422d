"""A handler that returned a coroutine did nothing: a decorator or a lambda hid its ``async def``, or an ``await`` is missing."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from rmqpool.errors import WorkerError

__all__ = ["finished"]

_NEVER_RUN = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


def finished(result: Any) -> Any:
    """``result``, what a handler returned. Raises WorkerError for what has not begun to run, and never would.

    Without this its message would be acknowledged, and nothing was done for it.
    """
    if result is None or type(result) not in _NEVER_RUN:
        return result
    if type(result) is CoroutineType:
        result.close()  # otherwise Python warns that it was never awaited, later and elsewhere
        hint = "make the handler async def, and await it"
    else:
        hint = "make a list of it"
    raise WorkerError(f"the handler returned {result.__qualname__}(…), which never ran, so nothing was done: {hint}")
