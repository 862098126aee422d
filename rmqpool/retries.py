"""Calls that are made again when they fail: one deadline, full jitter, and never twice what may have been done.

tenacity drives the attempts; which errors are worth one is decided in ``rmqpool.core.again``.
"""

from __future__ import annotations

import functools
import inspect
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast, overload

from rmqpool.core.again import IN_DOUBT, is_worth_another_attempt
from rmqpool.core.backoff import Backoff
from rmqpool.core.error_choice import ErrorChoice, classes_of, error_choice
from rmqpool.errors import CircuitOpenError, ConfigurationError
from rmqpool.late_imports import IMPORTING
from rmqpool.pool_options import seconds, whole_number

if TYPE_CHECKING:
    from tenacity import AttemptManager, RetryCallState

__all__ = ["Attempt", "Retrying", "retrying"]

P = ParamSpec("P")
R = TypeVar("R")

_LOGGER = logging.getLogger("rmqpool")
_BACKOFF: Final = Backoff(0.1, 10.0)
_SHORTEST: Final = 0.001  # seconds: what takes a timeout takes none of 0


class Attempt:
    """One attempt, a context manager (``with``, in coroutines too): an error in its block leads to the next attempt."""

    __slots__ = ("_manager", "_until", "ended", "number")

    def __init__(self, manager: AttemptManager, deadline: float) -> None:
        state = manager.retry_state
        self._manager = manager
        self._until = state.start_time + deadline
        self.number: int = state.attempt_number
        """Counted from 1."""
        self.ended = False
        """True once its block was left."""

    @property
    def remaining(self) -> float:
        """Seconds until the deadline of all attempts, never below a millisecond: the timeout for the call inside."""
        return max(_SHORTEST, self._until - time.monotonic())

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.ended = True
        return self._manager.__exit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<Attempt {self.number}, {self.remaining:.3g} s left>"


class Retrying:
    """What :func:`retrying` gives: a decorator, and a loop with ``for`` or ``async for``. Immutable, thread-safe."""

    def __init__(
        self,
        deadline: float,
        attempts: int | None,
        on: ErrorChoice | None,
        backoff: Backoff,
        idempotent: bool,
    ) -> None:
        with IMPORTING:
            import tenacity
        self.deadline = seconds("deadline", deadline)
        self.attempts = None if attempts is None else whole_number("attempts", attempts)
        self.on = None if on is None else error_choice("retrying", on)
        self.idempotent = idempotent
        doubtful = [kind.__name__ for kind in classes_of(on) if issubclass(kind, IN_DOUBT)] if on is not None else []
        if doubtful and not idempotent:
            raise ConfigurationError(
                f"retrying: on names {', '.join(doubtful)}, after which the call may have been done: give idempotent=True if "
                "doing it twice is as good as once, or leave it out"
            )
        if not isinstance(backoff, Backoff):
            raise ConfigurationError(f"retrying: backoff is {backoff!r}; give a Backoff, such as Backoff(0.1, 10)")
        self.backoff = backoff
        stop = tenacity.stop_before_delay(self.deadline)
        self._options: dict[str, Any] = {
            "retry": tenacity.retry_if_exception(lambda error: is_worth_another_attempt(error, self.on, idempotent)),
            "stop": stop if self.attempts is None else stop | tenacity.stop_after_attempt(self.attempts),
            "wait": self._pause,
            "before_sleep": self._tell,
            "retry_error_callback": self._give_up,
            "reraise": True,
        }

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """``function``, or a coroutine function, with these attempts. Raises ConfigurationError for a generator."""
        if isinstance(function, classmethod | staticmethod):
            return cast("Callable[P, R]", type(function)(self(function.__func__)))
        if not callable(function):
            raise ConfigurationError(f"retrying: {function!r} is no function")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"retrying: {function.__qualname__} is a generator: use the loop inside of it")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004

            @functools.wraps(function)
            async def repeated_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await self._awaited(lambda: function(*args, **kwargs))

            return cast("Callable[P, R]", repeated_coroutine)

        @functools.wraps(function)
        def repeated(*args: P.args, **kwargs: P.kwargs) -> R:
            for attempt in self:
                with attempt:
                    result = function(*args, **kwargs)
                    if inspect.iscoroutine(result):  # the coroutine function is behind another decorator
                        return cast("R", self._awaited(lambda: function(*args, **kwargs), result))
                    return result
            raise AssertionError("the last attempt returns or raises")

        return repeated

    async def _awaited(self, start: Callable[[], Any], begun: Any = None) -> Any:
        """The attempts at a coroutine; ``begun`` is that of the first one, if it was called already."""
        async for attempt in self:
            with attempt:
                coroutine, begun = begun if begun is not None else start(), None
                return await coroutine
        raise AssertionError("the last attempt returns or raises")

    def __iter__(self) -> Iterator[Attempt]:
        import tenacity

        for manager in tenacity.Retrying(**self._options):
            attempt = Attempt(manager, self.deadline)
            yield attempt
            _check_ended(attempt)

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return _Attempts(self._options, self.deadline)

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        at_least = error.retry_after if isinstance(error, CircuitOpenError) else 0.0
        return at_least + self.backoff.delay(state.attempt_number, random.random())

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        _LOGGER.info(
            "attempt %d failed (%s); the next one in %.3g s",
            state.attempt_number,
            type(error).__qualname__,  # not its text, which may hold a secret
            state.upcoming_sleep,
        )

    def _give_up(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        assert state.seconds_since_start is not None
        error = state.outcome.exception()
        assert error is not None
        so_many = f"{state.attempt_number} attempt{'s' if state.attempt_number > 1 else ''}"
        error.add_note(f"given up after {so_many} in {state.seconds_since_start:.3g} s (deadline {self.deadline:g} s)")
        raise error

    def __repr__(self) -> str:
        attempts = "" if self.attempts is None else f", at most {self.attempts} attempts"
        return f"<Retrying within {self.deadline:g} s{attempts}>"


class _Attempts(AsyncIterator[Attempt]):
    """One loop of a coroutine."""

    def __init__(self, options: dict[str, Any], deadline: float) -> None:
        import tenacity

        self._driver = tenacity.AsyncRetrying(**options).__aiter__()
        self._deadline = deadline
        self._last: Attempt | None = None

    async def __anext__(self) -> Attempt:
        if self._last is not None:
            _check_ended(self._last)
        self._last = Attempt(await self._driver.__anext__(), self._deadline)
        return self._last


@overload
def retrying(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def retrying(
    *,
    deadline: float = 30.0,
    attempts: int | None = None,
    on: ErrorChoice | None = None,
    backoff: Backoff = _BACKOFF,
    idempotent: bool = False,
) -> Retrying: ...
def retrying(
    function: Callable[..., Any] | None = None,
    /,
    *,
    deadline: float = 30.0,
    attempts: int | None = None,
    on: ErrorChoice | None = None,
    backoff: Backoff = _BACKOFF,
    idempotent: bool = False,
) -> Any:
    """Make a call again when it fails: a decorator, or a loop.

    ::

        @retrying(deadline=10)                         # functions and coroutine functions; or: @retrying
        def order(...): ...

        for attempt in retrying(deadline=10):          # or: async for
            with attempt:
                publisher.publish("orders", body, timeout=attempt.remaining)

    ``deadline``: seconds for all attempts and pauses together: no pause goes beyond it. An attempt that runs is not
    interrupted: give it what remains as its timeout. ``attempts``: at most so many (None: as many as the deadline allows).
    ``backoff``: the pauses, with full jitter; after a CircuitOpenError at least its ``retry_after``.

    ``on`` tells which exceptions are worth another attempt: classes, or a function of the exception. Without it those after
    which nothing was done: no connection, not sent, refused for now (a full queue, an open circuit breaker). What may have
    been done already (UnknownOutcomeError, a lost connection, a reply that did not come) is never done again, whatever
    ``on`` says, unless ``idempotent``: doing it twice is as good as once. What is no Exception ends the attempts.

    The last error comes out as it is, with a note of how often and how long it was tried. Raises ConfigurationError.
    """
    repeats = Retrying(deadline, attempts, on, backoff, idempotent)
    return repeats if function is None else repeats(function)


def _check_ended(attempt: Attempt) -> None:
    if not attempt.ended:  # or the loop would never end
        raise ConfigurationError("retrying: the loop's body must stand in `with attempt:`")
