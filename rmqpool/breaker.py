"""A circuit breaker around any call: decorator and context manager, for threads and asyncio.

What it decides is in ``rmqpool.core.breaker``; here are the lock, the clock, and who is told. A worker's consumers have a
breaker of their own, which pauses consuming: ``rmqpool.middlewares.CircuitBreaker``.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import CoroutineType, TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from rmqpool.callables import plain_function
from rmqpool.core.breaker import Breaker as StateMachine
from rmqpool.core.breaker import BreakerPolicy, BreakerState, Pass, Refusal
from rmqpool.core.error_choice import ErrorChoice, chooses, error_choice
from rmqpool.errors import CircuitOpenError, ConfigurationError

__all__ = ["Breaker", "BreakerStats"]

P = ParamSpec("P")
R = TypeVar("R")
Listener = Callable[[BreakerState, str], None]

_LOGGER = logging.getLogger("rmqpool")
_NO_FUNCTION: Any = object()
_WHILE_PROBING: Final = 1.0  # seconds after which those that wait for a probe may ask again
# The calls that this thread or task is in, the innermost last.
_CALLS: ContextVar[tuple[tuple[Breaker, Pass], ...]] = ContextVar("rmqpool_breaker_calls", default=())


@dataclass(frozen=True, slots=True)
class BreakerStats:
    """The figures of a breaker at one moment. ``called`` = ``succeeded`` + ``failed`` + ``ignored`` + those under way.

    ``ignored`` calls ended without a word about the dependency. ``refused`` ones were not made. ``opened``: how often it
    opened, failed probes not counted. ``retry_after``: seconds until a call may pass, 0 if one would now. ``reason``: why
    it is open.
    """

    name: str
    state: BreakerState
    called: int
    succeeded: int
    failed: int
    ignored: int
    refused: int
    opened: int
    retry_after: float
    reason: str


class Breaker:
    """Calls of the dependency ``name`` fail at once while it is down. Thread-safe, and for any number of tasks.

    ::

        bank = Breaker("bank", on=(ConnectionError, TimeoutError))

        @bank                      # functions and coroutine functions
        def charge(order): ...

        with bank:                 # or: async with bank
            ...

    ``on`` tells which exceptions say that it is down: classes, or a function of the exception. All other exceptions say
    nothing of it (a wrong argument, a cancelled task), and none is swallowed. When too much fails (see
    :class:`BreakerPolicy`) the breaker opens: CircuitOpenError is raised in place of the call, with ``retry_after``. After
    a pause one call passes, the probe: the breaker closes if it is answered, and stays open for longer if not.

    ``on_change`` hears of each change, in order, with a sentence; it runs on the thread of the call, and must return at
    once. A limit of time belongs inside of the breaker: what is cancelled from outside says nothing. A block is left in the
    thread or task that entered it. A forked child begins closed, with figures of its own. Raises ConfigurationError.
    """

    def __init__(
        self,
        name: str,
        *,
        on: ErrorChoice = Exception,
        policy: BreakerPolicy | None = None,
        on_change: Listener | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(
                f"Breaker: name is {name!r}; give the dependency's, as in bank = Breaker('bank'), and use that: @bank"
            )
        if policy is not None and not isinstance(policy, BreakerPolicy):
            raise ConfigurationError(f"breaker {name!r}: policy is {policy!r}; give a BreakerPolicy")
        self.name = name
        self._on = error_choice(f"breaker {name!r}", on)
        self._policy = policy or BreakerPolicy()
        if on_change is not None:
            plain_function(f"breaker {name!r}: on_change", on_change)
        self._on_change = on_change
        self._start_closed()
        _BREAKERS.add(self)

    def _start_closed(self) -> None:
        """Nothing has happened yet; also in a forked child."""
        self._lock = threading.Lock()
        self._machine = StateMachine(self._policy)
        self._called = self._succeeded = self._failed = self._ignored = self._refused = 0
        self._reason = ""
        self._news: deque[tuple[BreakerState, str]] = deque()
        self._telling = False

    @property
    def state(self) -> BreakerState:
        """Closed (calls pass), open, or half-open (one call tries the dependency)."""
        return self._machine.state

    @property
    def paused_seconds(self) -> float:
        """For how long it has been open or half-open, in all."""
        with self._lock:
            return self._machine.paused_seconds(time.monotonic())

    def stats(self) -> BreakerStats:
        """The figures of this moment."""
        with self._lock:
            return BreakerStats(
                self.name,
                self._machine.state,
                self._called,
                self._succeeded,
                self._failed,
                self._ignored,
                self._refused,
                self._machine.opened,
                self._retry_after(),
                self._reason,
            )

    # Around what has a pace of its own, as a pool's connecting

    def admit(self) -> Pass | Refusal:
        """May an attempt be made now? A Pass ends in :meth:`settle` or :meth:`withdraw`; a refusal counts nothing.

        ``on_change`` hears of it from :meth:`tell`, which is to be called next, outside of any lock.
        """
        with self._lock:
            before = self._machine.state
            answer = self._machine.ask(time.monotonic())
            if isinstance(answer, Pass):
                self._passed(answer, before)
        return answer

    def tell(self) -> None:
        """Call ``on_change`` for what it has not heard yet."""
        self._tell()

    def wait(self) -> float:
        """Seconds until an attempt may be made, or the probe that runs is given up; 0 if one may be made now."""
        with self._lock:
            return self._machine.wait(time.monotonic())

    def settle(self, call: Pass, error: BaseException | None) -> None:
        """What an attempt came to: None, or why it failed, of which ``on`` says whether that counts."""
        self._ended(call, error)

    def withdraw(self, call: Pass) -> None:
        """An attempt was broken off, and says nothing of the dependency."""
        with self._lock:
            self._ignored += 1
            self._machine.said_nothing(call, time.monotonic())

    def refused(
        self, kind: type[CircuitOpenError], why: str, cause: BaseException | None, at_least: float = 0.0
    ) -> CircuitOpenError:
        """The error for a caller who does not wait for such an attempt, to be raised; counted in ``stats().refused``.

        ``at_least``: ``retry_after`` is no less.
        """
        with self._lock:
            self._refused += 1
            wait, state = max(self._retry_after(), at_least), self._machine.state
            reason = self._reason or "it failed before"
        known = f"{why}; the circuit breaker of {self.name} is {_in_words(state)}, for {reason}"
        error = kind(f"{known}; ask again in {wait:.3g} s", name=self.name, retry_after=wait)
        error.__cause__ = cause
        return error

    # Around calls

    def __call__(self, function: Callable[P, R] = _NO_FUNCTION) -> Callable[P, R]:
        """``function`` behind this breaker. Raises ConfigurationError for generators: they fail after they were called."""
        if isinstance(function, classmethod | staticmethod):
            return cast("Callable[P, R]", type(function)(self(function.__func__)))
        if function is _NO_FUNCTION:
            raise ConfigurationError(
                f"breaker {self.name!r}: nothing to call; write it above a function without parentheses, or use it in `with`"
            )
        if not callable(function):
            raise ConfigurationError(f"breaker {self.name!r}: {function!r} is no function")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"breaker {self.name!r}: {function.__qualname__} is a generator: use `with` and the breaker inside of it"
            )
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004

            @functools.wraps(function)
            async def guarded_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await self._awaited(self._ask(), lambda: function(*args, **kwargs))

            return cast("Callable[P, R]", guarded_coroutine)

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            call = self._ask()
            try:
                result = function(*args, **kwargs)
                later = isinstance(result, CoroutineType)
            except BaseException as error:
                self._ended(call, error)
                raise
            if later:  # the coroutine function is behind another decorator
                return cast("R", self._awaited(call, lambda: cast("Any", result)))
            self._ended(call, None)
            return result

        return guarded

    async def _awaited(self, call: Pass, start: Callable[[], Any]) -> Any:
        try:
            result = await start()
        except BaseException as error:
            self._ended(call, error)
            raise
        self._ended(call, None)
        return result

    def __enter__(self) -> Breaker:
        call = self._ask()
        try:
            _CALLS.set((*_CALLS.get(), (self, call)))
        except BaseException as error:  # KeyboardInterrupt: the block is not entered
            self._ended(call, error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        calls = _CALLS.get()
        for position in range(len(calls) - 1, -1, -1):
            breaker, call = calls[position]
            if breaker is self:
                _CALLS.set(calls[:position] + calls[position + 1 :])
                self._ended(call, error)
                return

    async def __aenter__(self) -> Breaker:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    # Inside

    def _ask(self) -> Pass:
        """A call may be made, or CircuitOpenError."""
        answer: Pass | Refusal | None = None
        try:
            with self._lock:
                before = self._machine.state
                answer = self._machine.ask(time.monotonic())
                if isinstance(answer, Pass):
                    self._passed(answer, before)
                else:
                    self._refused += 1
                    wait, reason = self._retry_after(), self._reason
            if isinstance(answer, Pass):
                self._tell()
                return answer
        except BaseException as error:  # KeyboardInterrupt: a probe that nobody makes is another call's
            if isinstance(answer, Pass):
                self._ended(answer, error)
            raise
        raise CircuitOpenError(
            f"{self.name} was not called: its circuit breaker is {_in_words(before)}, for {reason}; ask again in "
            f"{wait:.3g} s",
            name=self.name,
            retry_after=wait,
        )

    def _passed(self, call: Pass, before: BreakerState) -> None:
        self._called += 1
        if call.is_probe and before is BreakerState.OPEN:
            self._news.append((BreakerState.HALF_OPEN, f"{self.name} is tried with one call"))

    def _ended(self, call: Pass, error: BaseException | None) -> None:
        try:
            self._count(call, error)
        except BaseException:
            with self._lock:
                self._machine.said_nothing(call, time.monotonic())
            raise
        self._tell()

    def _count(self, call: Pass, error: BaseException | None) -> None:
        is_failure = error is not None and self._is_failure(error)
        with self._lock:
            now, period = time.monotonic(), self._machine.period
            if is_failure:
                self._failed += 1
                self._machine.failed(call, now, random.random())
            elif error is not None:
                self._ignored += 1
                self._machine.said_nothing(call, now)
            else:
                self._succeeded += 1
                self._machine.succeeded(call, now)
            if self._machine.period != period:
                self._changed(error)

    def _changed(self, error: BaseException | None) -> None:
        """It opened, stays open after a probe, or closed. Under the lock."""
        if error is None:
            self._reason = ""
            self._news.append((BreakerState.CLOSED, f"{self.name} works again"))
            return
        self._reason = f"it failed with {type(error).__qualname__}"  # not its text, which may hold a secret
        sentence = f"{self.name} fails ({type(error).__qualname__}); it is tried again in {self._retry_after():.3g} s"
        self._news.append((BreakerState.OPEN, sentence))

    def _retry_after(self) -> float:
        wait = self._machine.wait(time.monotonic())
        return min(wait, _WHILE_PROBING) if self._machine.state is BreakerState.HALF_OPEN else wait

    def _is_failure(self, error: BaseException) -> bool:
        try:
            return chooses(self._on, error)
        except Exception:
            _LOGGER.exception("circuit breaker %s: the function on=… failed; the exception says nothing", self.name)
            return False

    def _tell(self) -> None:
        """Outside of the lock, and in order: one thread at a time tells all that there is."""
        while self._news:
            telling = False
            try:
                with self._lock:
                    if self._telling or not self._news:
                        return
                    telling = self._telling = True
                    state, sentence = self._news.popleft()
                level = logging.WARNING if state is BreakerState.OPEN else logging.INFO
                _LOGGER.log(level, "circuit breaker %s is %s: %s", self.name, _in_words(state), sentence)
                if self._on_change is not None:
                    self._on_change(state, sentence)
            except Exception:
                _LOGGER.exception("circuit breaker %s: on_change failed", self.name)
            finally:
                if telling:
                    self._telling = False

    def __repr__(self) -> str:
        figures = self.stats()
        wait = f", tried again in {figures.retry_after:.3g} s" if figures.state is BreakerState.OPEN else ""
        return f"<Breaker {self.name!r} {figures.state}{wait}, opened {figures.opened} times>"


def _in_words(state: BreakerState) -> str:
    return state.replace("_", "-")


_BREAKERS: weakref.WeakSet[Breaker] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for breaker in list(_BREAKERS):  # another thread of the parent may have held the lock, or run the probe
        breaker._start_closed()


os.register_at_fork(after_in_child=_after_fork_in_child)
