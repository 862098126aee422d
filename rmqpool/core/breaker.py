"""A circuit breaker: whether a dependency that fails is to be called at all. Pure: the time and the chance are passed in.

Closed, calls pass, and their outcomes are counted over a window. When too many fail it opens, and calls are refused for a
pause. Then it is half-open: one call passes, the probe; its outcome closes the breaker, or opens it for a longer pause.
The source is Michael Nygard, "Release It!" (2007), chapter 5.2.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass, field

from rmqpool.core.backoff import Backoff
from rmqpool.errors import ConfigurationError

__all__ = ["Breaker", "BreakerPolicy", "BreakerState", "Pass", "Refusal"]

_SLOTS = 10  # the window moves by a tenth of itself


class BreakerState(enum.StrEnum):
    """Where a breaker is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long. Immutable, thread-safe.

    It opens when at least ``minimum`` calls of the last ``window`` seconds have ended and the share ``failure_rate``
    (0 to 1) of them failed; and when ``minimum`` calls in a row failed, however long they took. ``pause``: seconds
    before each probe, longer with each that failed, of which the share ``jitter`` is left to chance. ``patience``: seconds
    after which a probe that says nothing is given up, and another call may be one.

    Raises ConfigurationError.
    """

    failure_rate: float = 0.5
    minimum: int = 5
    window: float = 30.0
    pause: Backoff = field(default_factory=lambda: Backoff(1.0, 30.0))
    jitter: float = 0.1
    patience: float = 60.0

    def __post_init__(self) -> None:
        if not (_is_number(self.failure_rate) and 0 < self.failure_rate <= 1):
            raise ConfigurationError(f"breaker: failure_rate is {self.failure_rate!r}; give a share above 0, at most 1")
        if isinstance(self.minimum, bool) or not isinstance(self.minimum, int) or self.minimum < 1:
            raise ConfigurationError(f"breaker: minimum is {self.minimum!r}; give a whole number of calls, 1 or more")
        for name, value in (("window", self.window), ("patience", self.patience)):
            if not (_is_number(value) and 0 < value < math.inf):
                raise ConfigurationError(f"breaker: {name} is {value!r}; give seconds, more than 0")
        if not isinstance(self.pause, Backoff):
            raise ConfigurationError(f"breaker: pause is {self.pause!r}; give a Backoff, such as Backoff(1, 30)")
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise ConfigurationError(f"breaker: jitter is {self.jitter!r}; give a share from 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """A call may be made; its outcome is told with this. ``is_probe``: everything waits for it."""

    is_probe: bool
    period: int  # of the breaker: outcomes of calls from before it last opened or closed say nothing any more


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call is not to be made; asking again makes sense after ``wait`` seconds."""

    wait: float


class Breaker:
    """One breaker. Not thread-safe. ``now`` is seconds of a monotonic clock, and never decreases."""

    def __init__(self, policy: BreakerPolicy | None = None) -> None:
        self.policy = policy or BreakerPolicy()
        self.state = BreakerState.CLOSED
        self.opened = 0
        """How often it has opened, failed probes not counted."""
        self._period = 0
        self._ends: deque[list[float]] = deque()  # [slot, calls, failures], the oldest first
        self._in_a_row = 0  # failures
        self._failed_probes = 0
        self._probe: Pass | None = None
        self._left_at = 0.0  # when it was closed last, while it is not
        self._paused = 0.0  # seconds of the periods that are over
        self._due = 0.0  # when the next probe may begin, or the one that runs is given up

    def ask(self, now: float) -> Pass | Refusal:
        """May a call be made?"""
        if self.state is BreakerState.CLOSED:
            return Pass(False, self._period)
        if now < self._due:
            return Refusal(self._due - now)
        probe = Pass(
            True, self._period
        )  # first: a signal handler that raises in here leaves no probe that nobody makes
        self.state = BreakerState.HALF_OPEN
        self._due = now + self.policy.patience
        self._probe = probe
        return probe

    def succeeded(self, call: Pass, now: float) -> None:
        """The call was answered. A probe closes the breaker."""
        if call is self._probe:
            self._paused = self.paused_seconds(now)
            self._change(BreakerState.CLOSED)
        elif self._counts(call):
            self._in_a_row = 0
            self._slot(now)[1] += 1

    def failed(self, call: Pass, now: float, random: float = 0.0) -> None:
        """The dependency failed. ``random`` is an even draw from [0, 1), for the pause."""
        if call is self._probe:
            self._failed_probes += 1
            self._open(now, random)
        elif self._counts(call):
            self._in_a_row += 1
            slot = self._slot(now)
            slot[1] += 1
            slot[2] += 1
            if self._is_too_much():
                self.opened += 1
                self._left_at = now
                self._open(now, random)

    def said_nothing(self, call: Pass, now: float) -> None:
        """The call ended without a word about the dependency. After a probe, another call may be one at once."""
        if call is self._probe:
            self._probe = None
            self._due = now

    @property
    def period(self) -> int:
        """Another number each time that it opened (after a failed probe, too) or closed."""
        return self._period

    def wait(self, now: float) -> float:
        """Seconds until the next probe may begin; 0 if a call would pass."""
        return 0.0 if self.state is BreakerState.CLOSED else max(0.0, self._due - now)

    def paused_seconds(self, now: float) -> float:
        """For how long it has been open or half-open, in all."""
        return self._paused + (0.0 if self.state is BreakerState.CLOSED else now - self._left_at)

    def _counts(self, call: Pass) -> bool:
        return self.state is BreakerState.CLOSED and call.period == self._period and not call.is_probe

    def _slot(self, now: float) -> list[float]:
        """The figures of this moment; those that are too old are dropped."""
        number = now // (self.policy.window / _SLOTS)
        while self._ends and self._ends[0][0] <= number - _SLOTS:
            self._ends.popleft()
        if not self._ends or self._ends[-1][0] != number:
            self._ends.append([number, 0, 0])
        return self._ends[-1]

    def _is_too_much(self) -> bool:
        if self._in_a_row >= self.policy.minimum:
            return True
        calls = sum(slot[1] for slot in self._ends)
        failures = sum(slot[2] for slot in self._ends)
        return calls >= self.policy.minimum and failures >= self.policy.failure_rate * calls

    def _open(self, now: float, random: float) -> None:
        failed_probes = self._failed_probes
        self._change(BreakerState.OPEN)
        self._failed_probes = failed_probes
        pause = self.policy.pause.ceiling(min(failed_probes + 1, 64))
        self._due = now + pause * (1 - self.policy.jitter * random)

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._period += 1
        self._probe = None
        self._in_a_row = 0
        self._failed_probes = 0
        self._ends.clear()

    def __repr__(self) -> str:
        return f"<Breaker {self.state}, opened {self.opened} times>"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
