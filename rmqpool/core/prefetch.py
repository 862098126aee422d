"""How many messages a consumer has delivered ahead. Pure: the time and the figures are passed in.

What a handler takes is seen from outside: by Little's law (J. D. C. Little, 1961) the handlers that run at the looks,
times the time between looks, divided by the messages settled meanwhile, is the time of one message. So it costs a
delivery nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from rmqpool.errors import ConfigurationError

__all__ = ["PREFETCH_FACTOR", "PREFETCH_MAX", "AdaptivePrefetch", "PrefetchPlan"]

PREFETCH_FACTOR: Final = 4  # one message runs and three wait: a round trip to the broker is hidden, and few are hoarded
PREFETCH_MAX: Final = 2000  # https://www.rabbitmq.com/docs/quorum-queues
_WINDOW: Final = 1.0  # seconds that are looked at together; longer, until enough was seen
_LONGEST_WINDOW: Final = 30.0
_LONGEST_IDLE: Final = 10.0
_TOO_LONG: Final = 1.0  # seconds between two looks, of which nothing can be told
_EVIDENCE: Final = 40  # messages that left, and handlers that were seen at work: an error of a sixth by chance
_ALARMING: Final = 4.0  # times slower than before: that is not waited for
_MEMORY: Final = 2.0  # seconds after which a window counts for a third
_UNSEEN: Final = 0.02  # of the time a handler may have worked unseen, between two looks
_ENOUGH: Final = 1.5  # a change by less is not worth a cancel and a consume
_PAUSE: Final = 3.0  # seconds between two changes
_SETTLING: Final = 1.0  # seconds before the first one


@dataclass(frozen=True, slots=True)
class AdaptivePrefetch:
    """A prefetch that follows the time of the handlers: what runs, and about ``ahead`` seconds of work that wait.

    It stays from ``minimum`` to ``maximum`` messages (1 to 2,000), and is never less than what may run at once, unless
    ``maximum`` says so. Immutable. Raises ConfigurationError.
    """

    minimum: int = 1
    maximum: int = PREFETCH_MAX
    ahead: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("minimum", self.minimum), ("maximum", self.maximum)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= PREFETCH_MAX:
                raise ConfigurationError(
                    f"AdaptivePrefetch: {name} is {value!r}; give a whole number from 1 to {PREFETCH_MAX}"
                )
        if self.minimum > self.maximum:
            raise ConfigurationError(
                f"AdaptivePrefetch: minimum is {self.minimum} and maximum {self.maximum}; give the smaller one first"
            )
        number = isinstance(self.ahead, int | float) and not isinstance(self.ahead, bool)
        if not number or not math.isfinite(self.ahead) or self.ahead <= 0:
            raise ConfigurationError(f"AdaptivePrefetch: ahead is {self.ahead!r}; give seconds, more than 0")

    def within(self, wanted: float, concurrency: int) -> int:
        """The whole number that is meant by ``wanted`` messages."""
        least = max(self.minimum, concurrency)
        return min(self.maximum, max(least, math.floor(min(wanted, PREFETCH_MAX))))

    def start(self, concurrency: int) -> int:
        """What to begin with, before anything is known of the handlers."""
        return self.within(PREFETCH_FACTOR * concurrency, concurrency)

    def wanted(self, concurrency: int, seconds: float, held: int = 0) -> int:
        """For handlers that take ``seconds``, with ``held`` messages that take places and need no handler for now."""
        waiting = self.ahead * concurrency / seconds if seconds > 0 else math.inf
        return self.within(concurrency + waiting + held, concurrency)


@dataclass(slots=True)
class PrefetchPlan:
    """The prefetch of one consumer over time. ``current`` is what the broker is asked for now. For one thread."""

    options: AdaptivePrefetch
    concurrency: int
    current: int = 0
    _seconds: float = field(default=0.0)  # of a handler for a message, the average of the windows; 0: not known
    _passed: float = field(default=0.0)  # seconds of this window
    _busy: float = field(default=0.0)  # seconds that handlers have worked in it
    _ended: int = field(default=0)  # messages that left in it
    _seen: int = field(default=0)  # handlers that were seen at work in it, each look by itself
    _stuck: float = field(default=0.0)  # seconds for which handlers have run and none has ended
    _settled: int = field(default=-1)
    _looked_at: float = field(default=0.0)
    _changed_at: float = field(default=float("-inf"))

    def __post_init__(self) -> None:
        if not self.current:
            self.current = self.options.start(self.concurrency)

    @property
    def seconds(self) -> float | None:
        """What one message takes a handler; None while too little is known. Rather too much than too little."""
        stuck = self._stuck if self._stuck >= _WINDOW else 0.0
        return max(self._seconds, stuck) or None

    def look(self, now: float, *, settled: int, in_progress: int, waiting: int, outstanding: int) -> int | None:
        """The new prefetch, or None if the current one stays.

        ``settled``: messages that have left so far; ``in_progress``: handlers running; ``waiting``: delivered and not
        begun; ``outstanding``: delivered and not settled.
        """
        passed, before = now - self._looked_at, self._settled
        self._looked_at, self._settled = now, settled
        if before < 0:
            self._changed_at = now - _PAUSE + _SETTLING
        if before < 0 or not 0 < passed <= _TOO_LONG:
            return None
        self._learn(passed, settled - before, in_progress)
        seconds = self.seconds
        if seconds is None or now - self._changed_at < _PAUSE:
            return None
        held = max(0, outstanding - in_progress - waiting)
        wanted = self.options.wanted(self.concurrency, seconds, held)
        if not self._is_worth_it(wanted):
            return None
        self._changed_at = now
        self.current = wanted
        return wanted

    def _learn(self, passed: float, ended: int, in_progress: int) -> None:
        self._stuck = self._stuck + passed if in_progress and not ended else 0.0
        if not in_progress and not ended and self._passed >= _LONGEST_IDLE:
            return  # an idle hour tells nothing
        self._passed += passed
        self._busy += in_progress * passed
        self._ended += ended
        self._seen += in_progress
        if self._ended > 0 and self._passed >= _WINDOW:
            seen = (self._busy + self._passed * _UNSEEN) / self._ended
            enough = min(self._seen, self._ended) >= _EVIDENCE or self._passed >= _LONGEST_WINDOW
            if enough or not self._seconds or seen > self._seconds * _ALARMING:
                self._average(seen)
                self._passed, self._busy, self._ended, self._seen = 0.0, 0.0, 0, 0

    def _average(self, seen: float) -> None:
        """Slower handlers count as they are, faster ones by their logarithm: a thousandth of a second after a second too."""
        weight = 1 - math.exp(-self._passed / _MEMORY)
        if not self._seconds:
            self._seconds = seen
        elif seen > self._seconds:
            self._seconds += weight * (seen - self._seconds)
        else:
            self._seconds *= (seen / self._seconds) ** weight

    def _is_worth_it(self, wanted: int) -> bool:
        return wanted >= self.current * _ENOUGH or wanted * _ENOUGH <= self.current
