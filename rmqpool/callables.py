"""Functions that users hand over: are they any, and is there somebody who awaits what they return?"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any, TypeVar

from rmqpool.errors import ConfigurationError

__all__ = ["function", "never_awaited", "plain_function"]

T = TypeVar("T")


def function(what: str, value: Any) -> None:
    """``value`` can be called. Raises ConfigurationError, which begins with ``what``: its owner and name.

    The message tells only its type: a URL that was given in the place of a function has a password.
    """
    if not callable(value):
        raise ConfigurationError(f"{what} is of type {type(value).__name__}; give a function")


def plain_function(what: str, value: Any, instead: str = "make it def") -> None:
    """As :func:`function`, and not ``async def``, which nobody would await here. ``instead`` says what to do about that."""
    function(what, value)
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
        raise ConfigurationError(f"{what} is async def, and would never run: {instead}")


def never_awaited(what: str, call: Callable[..., T], *arguments: Any) -> T:
    """Call it where nobody awaits. Raises ConfigurationError when it returns a coroutine, which is closed."""
    result = call(*arguments)
    if isinstance(result, CoroutineType):
        result.close()
        raise ConfigurationError(f"{what} returned a coroutine, which nobody awaits here: use AsyncResourcePool")
    return result
