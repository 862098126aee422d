"""When a failed message is tried again, and how its delay is waited. Pure: time and randomness are passed in.

One policy, two ways of waiting. A short delay is waited in the worker: nothing is published, and one place of the prefetch
is taken. A longer one is waited in the broker, in a queue of its own for each step (a message expires only at the head
of its queue, https://www.rabbitmq.com/docs/ttl): it survives the worker and takes no place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Final

from rmqpool.core.backoff import Backoff
from rmqpool.errors import ConfigurationError

__all__ = ["LONGEST_DELAY", "LONGEST_HELD", "Hop", "RetryPolicy"]

LONGEST_HELD: Final = 60.0
"""Seconds that a worker holds a message back at most: it takes a place of the prefetch meanwhile."""

LONGEST_DELAY: Final = 7 * 86_400.0
"""Seconds that a retry may wait at most."""

_MOST_STEPS: Final = 32
_ENOUGH: Final = 0.05  # a rest of a delay below this share of it is not worth another wait

Errors = type[BaseException] | tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Hop:
    """One wait: ``step`` seconds in the broker's queue of that name, or (0) ``held`` seconds in the worker.

    ``left`` is what remains of the delay after it, in seconds.
    """

    step: int = 0
    held: float = 0.0
    left: float = 0.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when a message is tried again whose handler raised; then it is parked. Immutable, thread-safe.

    ``max_attempts`` handlings in all, the first one included. ``backoff``: seconds before each further attempt, as a
    :class:`Backoff` (``Backoff(1, 300)``: 1, 2, 4, 8 … 300), a sequence (its last one is repeated), or one number.
    ``jitter``: the random share of a delay, 0 to 1 (0.2: between 80 and 100 % of it), for what is waited in the worker;
    queues wait exactly. ``on``: exceptions that are tried again (a class, a tuple of classes, or a function of the
    exception that returns a bool); ``give_up_on`` wins over it, and its exceptions are parked at once.
    ``give_up_after``: seconds since the first failure after which no further attempt begins. ``hold``: delays up to
    so many seconds are waited in the worker, longer ones in queues.

    Raises ConfigurationError.
    """

    max_attempts: int = 5
    backoff: Backoff | Sequence[float] | float = field(default_factory=lambda: Backoff(1.0, 300.0))
    jitter: float = 0.2
    on: Errors | Callable[[BaseException], bool] = Exception
    give_up_on: Errors = ()
    give_up_after: float | None = None
    hold: float = 1.0
    steps: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The delays of the queues, in whole seconds, the shortest first."""

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise ConfigurationError(
                f"RetryPolicy: max_attempts is {self.max_attempts!r}; give a whole number, 1 or more"
            )
        _number("jitter", self.jitter, 1.0, "a share from 0 to 1")
        _number("hold", self.hold, LONGEST_HELD, f"seconds from 0 to {LONGEST_HELD:g}")
        if self.give_up_after is not None:
            _number("give_up_after", self.give_up_after, math.inf, "seconds, or None")
        if not _is_errors(self.on) and (not callable(self.on) or iscoroutinefunction(self.on)):
            raise ConfigurationError(
                f"RetryPolicy: on is {self.on!r}; give exception classes, or a plain function of the exception"
            )
        if not _is_errors(self.give_up_on):
            raise ConfigurationError(f"RetryPolicy: give_up_on is {self.give_up_on!r}; give exception classes")
        if not isinstance(self.backoff, Backoff):
            delays = self.backoff if isinstance(self.backoff, Sequence) else (self.backoff,)
            if isinstance(delays, str | bytes) or not delays:
                raise ConfigurationError(f"RetryPolicy: backoff is {self.backoff!r}; give seconds, as in (1, 10, 60)")
            for delay in delays:
                _number("backoff", delay, LONGEST_DELAY, f"seconds from 0 to {LONGEST_DELAY:g}")
            object.__setattr__(self, "backoff", tuple(float(delay) for delay in delays))
        elif self.backoff.maximum > LONGEST_DELAY:
            raise ConfigurationError(
                f"RetryPolicy: backoff goes up to {self.backoff.maximum:g} s; give at most {LONGEST_DELAY:g}"
            )
        object.__setattr__(self, "steps", self._find_steps())
        if len(self.steps) > _MOST_STEPS:
            raise ConfigurationError(
                f"RetryPolicy: {len(self.steps)} different delays would need as many queues; give at most {_MOST_STEPS}, "
                "with a steeper backoff, a lower maximum, or a sequence"
            )

    # What is tried again

    def wants(self, error: BaseException) -> bool:
        """True if another attempt may help. By the exception's class alone, whatever it says of itself."""
        kind = type(error)
        if issubclass(kind, self.give_up_on):
            return False
        if isinstance(self.on, type | tuple):
            return issubclass(kind, self.on)
        return bool(self.on(error))

    def delay(self, attempt: int, age: float, asked: float | None = None) -> float | None:
        """Seconds before the attempt after ``attempt`` (counted from 1); None: no further one.

        ``age`` is how long ago the first attempt failed, in seconds; ``asked`` what the handler asked for.
        """
        if attempt >= self.max_attempts:
            return None
        delay = self.delay_after(attempt) if asked is None else asked
        if self.give_up_after is not None and age + delay > self.give_up_after:
            return None
        return delay

    def delay_after(self, attempt: int) -> float:
        """The policy's own delay after the attempt, counted from 1, without jitter."""
        if isinstance(self.backoff, Backoff):
            return self.backoff.ceiling(attempt)
        delays = self.backoff if isinstance(self.backoff, tuple) else ()
        return float(delays[min(attempt, len(delays)) - 1])

    # How it waits

    def hop(self, delay: float, *, may_hold: bool, random: float) -> Hop:
        """How to wait for ``delay`` seconds, or the first part of it. ``may_hold``: the worker has room to hold it back.

        ``random`` is an even draw from [0, 1). Late only where nothing shorter is left: by one step at most.
        """
        if delay <= 0:
            return Hop()
        steps = self.steps
        fitting = [step for step in steps if step <= delay * (1 + _ENOUGH)]
        if (delay <= self.hold or not fitting) and (may_hold or not steps):
            held = min(delay, LONGEST_HELD)
            left = delay - held
            return Hop(held=held * (1 - self.jitter * random), left=left if left > _ENOUGH * delay else 0.0)
        step = fitting[-1] if fitting else steps[0]
        left = delay - step
        return Hop(step=step, left=left if left > _ENOUGH * delay else 0.0)

    def _find_steps(self) -> tuple[int, ...]:
        found: set[int] = set()
        for attempt in range(1, self.max_attempts):
            delay = self.delay_after(attempt)
            if delay > self.hold and delay >= 1:
                found.add(math.floor(delay))
            if isinstance(self.backoff, Backoff):
                is_last = delay >= self.backoff.maximum or self.backoff.multiplier == 1
            else:
                is_last = not isinstance(self.backoff, tuple) or attempt >= len(self.backoff)
            if is_last or len(found) > _MOST_STEPS:  # from here on it is the same
                break
        return tuple(sorted(found))


def _number(name: str, value: object, most: float, wanted: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= most:  # type: ignore[operator]
        raise ConfigurationError(f"RetryPolicy: {name} is {value!r}; give {wanted}")


def _is_errors(value: object) -> bool:
    kinds = value if isinstance(value, tuple) else (value,)
    return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)
