"""Where a handler runs (``executor``) and what it may take there: time, memory, messages, and deaths of its process.

A thread cannot be stopped from outside, so a limit for one is refused instead of being a wish: ``executor="process"``, or
``async def``, can keep it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Literal

from rmqpool.errors import ConfigurationError, TimeLimitExceededError
from rmqpool.worker.handlers import Handler

__all__ = ["Executor", "Limits", "check_executor", "exceeded", "with_time_limit"]

Executor = Literal["thread", "process"]

MARGIN = 10.0  # seconds between the exception and the kill, if nothing else is said: time to clean up
_POISON_AFTER = 2
_LONGEST = 86400.0 * 7


@dataclass(frozen=True, slots=True)
class Limits:
    """``time_limit``, ``hard_time_limit``: seconds for a message; ``memory_limit``: bytes of a child process;
    ``recycle_after``: messages that one child handles; ``poison_after``: children that one message may kill.
    """

    time_limit: float | None = None
    hard_time_limit: float | None = None
    recycle_after: int | None = None
    memory_limit: int | None = None
    poison_after: int | None = None

    @property
    def kills_after(self) -> float | None:
        """Seconds after which a child is killed: the hard limit, or the soft one and a margin."""
        if self.hard_time_limit is None and self.time_limit is not None:
            return self.time_limit + MARGIN
        return self.hard_time_limit

    @property
    def deaths(self) -> int:
        """How many children one message may kill."""
        return _POISON_AFTER if self.poison_after is None else self.poison_after


def check_executor(handler: Handler, executor: str | None, limits: Limits) -> Executor:
    """Where ``handler`` runs, once all of it is sound. Raises ConfigurationError that says what to write instead."""
    if executor not in (None, "thread", "process"):
        raise ConfigurationError(f"executor is {executor!r}; it must be 'thread' or 'process'")
    if executor == "thread" and handler.is_async:
        raise ConfigurationError(
            f"handler {handler.name} is async def, which runs on the worker's event loop: leave executor='thread' out"
        )
    _seconds("time_limit", limits.time_limit)
    _seconds("hard_time_limit", limits.hard_time_limit)
    _count("recycle_after", limits.recycle_after, "messages")
    _count("memory_limit", limits.memory_limit, "bytes")
    _count("poison_after", limits.poison_after, "children")
    if limits.time_limit is not None and not limits.time_limit < (limits.hard_time_limit or math.inf):
        raise ConfigurationError(
            f"hard_time_limit is {limits.hard_time_limit:g} s and time_limit {limits.time_limit:g} s: the exception "
            "comes first, and the kill after it"
        )
    if executor == "process":
        return "process"
    for name in ("hard_time_limit", "recycle_after", "memory_limit", "poison_after"):
        if getattr(limits, name) is not None:
            raise ConfigurationError(
                f"handler {handler.name} has {name}, which needs a process of its own: add executor='process'"
            )
    if limits.time_limit is not None and not handler.is_async:
        raise ConfigurationError(
            f"handler {handler.name} has a time_limit, but it runs on a thread, which nobody can interrupt: add "
            "executor='process', or make it async def"
        )
    return "thread"


def with_time_limit(handler: Handler, seconds: float | None) -> Handler:
    """The coroutine function of ``handler``, cancelled after ``seconds``: TimeLimitExceededError then."""
    if seconds is None:
        return handler
    return replace(handler, function=_limited(handler.function, seconds))


def exceeded(seconds: float) -> TimeLimitExceededError:
    """The error of a handler that took longer than ``seconds``."""
    return TimeLimitExceededError(
        f"the handler took longer than its time_limit of {seconds:g} s: give it more, or make it do less"
    )


def _limited(
    function: Callable[..., Coroutine[Any, Any, Any]], seconds: float
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(function)
    async def limited(*positional: Any, **named: Any) -> Any:
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await function(*positional, **named)
        except TimeoutError as error:
            if scope.expired():
                raise exceeded(seconds) from error
            raise

    return limited


def _seconds(name: str, value: float | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST:
        raise ConfigurationError(f"{name} is {value!r}; give seconds, more than 0 and at most {_LONGEST:g}")


def _count(name: str, value: int | None, unit: str) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigurationError(f"{name} is {value!r}; give a whole number of {unit}, 1 or more")
