"""Which exceptions are meant: named by class, or chosen by a function. Pure."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, TypeGuard

from rmqpool.errors import ConfigurationError

__all__ = ["ErrorChoice", "chooses", "classes_of", "error_choice", "is_classes"]

ErrorChoice = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


def is_classes(value: object) -> TypeGuard[type[BaseException] | tuple[type[BaseException], ...]]:
    """True for an exception class, or a tuple of some that is not empty."""
    kinds = value if isinstance(value, tuple) else (value,)
    return bool(kinds) and all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)


def classes_of(choice: ErrorChoice) -> tuple[type[BaseException], ...]:
    """The classes that are named; none for a function."""
    if not is_classes(choice):
        return ()
    return choice if isinstance(choice, tuple) else (choice,)


def error_choice(what: str, on: Any) -> ErrorChoice:
    """``on``, if it is exception classes or a function of the exception. ConfigurationError, which begins with ``what``."""
    if not is_classes(on) and (isinstance(on, type | tuple) or not callable(on) or iscoroutinefunction(on)):
        raise ConfigurationError(f"{what}: on is {on!r}; give exception classes, or a plain function of the exception")
    choice: ErrorChoice = on
    return choice


def chooses(choice: ErrorChoice, error: BaseException) -> bool:
    """Is this exception meant? Raises what a function of the user's raises."""
    if isinstance(choice, type | tuple):
        return issubclass(type(error), choice)
    return bool(choice(error))
