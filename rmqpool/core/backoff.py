"""How long to wait before the next attempt: exponential backoff with full jitter. Pure: the random number is passed in.

For I/O threads, which never sleep and schedule a delay instead. Threads and coroutines that may block use tenacity's
``wait_random_exponential``, whose bounds are the same. The source of both is the AWS Architecture Blog,
"Exponential Backoff And Jitter" (2015): ``random_between(0, min(cap, base * 2 ** attempt))``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rmqpool.errors import ConfigurationError

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: each delay is drawn evenly from zero to a ceiling that grows with each attempt, up to a maximum.

    ``initial`` is the first ceiling in seconds, ``maximum`` the last one, ``multiplier`` the growth from one attempt to
    the next (1 keeps the ceiling constant). Immutable, so safe to share between threads.

    Raises ConfigurationError when a value is not finite, ``initial`` is not above 0, ``maximum`` is below ``initial``,
    or ``multiplier`` is below 1.
    """

    initial: float
    maximum: float
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.initial) and self.initial > 0):
            raise ConfigurationError(f"backoff: initial is {self.initial!r}; give seconds above 0")
        if not (math.isfinite(self.maximum) and self.maximum >= self.initial):
            raise ConfigurationError(
                f"backoff: maximum is {self.maximum!r}; give seconds, at least the initial {self.initial!r}"
            )
        if not (math.isfinite(self.multiplier) and self.multiplier >= 1):
            raise ConfigurationError(f"backoff: multiplier is {self.multiplier!r}; give a number of at least 1")

    def ceiling(self, attempt: int) -> float:
        """The longest delay (seconds) after the attempt, counted from 1. Raises ValueError when that is below 1."""
        if attempt < 1:
            raise ValueError(f"attempt is {attempt!r}; attempts are counted from 1")
        try:
            return min(self.maximum, self.initial * self.multiplier ** (attempt - 1))
        except OverflowError:  # the power is larger than a float can be, and so than the maximum
            return self.maximum

    def delay(self, attempt: int, random: float) -> float:
        """The delay (seconds) after the given attempt, counted from 1; ``random`` is an even draw from [0, 1).

        Raises ValueError when either is out of its range.
        """
        if not 0 <= random < 1:
            raise ValueError(f"random is {random!r}; give a number from 0 to below 1, as random.random() does")
        return random * self.ceiling(attempt)
