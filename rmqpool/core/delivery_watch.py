"""Whether a consumer gets what its queue holds, and what to do when it does not. Pure: the time is passed in.

A queue may be empty, so silence alone proves nothing: the broker is asked. It is believed when it says twice that there
are messages, or that nobody consumes, while handlers are free and nothing came in between.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["DeliveryWatch", "Sight", "Step"]

_AGAIN: Final = 1.0  # seconds before the broker is asked a second time
_LOOK: Final = 0.5  # seconds between two looks at a consumer that is in doubt
_CALM_LOOK: Final = 2.0  # the most between two looks at any other
_LOOKS: Final = 15  # within `stalled_after`
_PATIENCE: Final = 5.0  # seconds for the broker's answers to a step
_LONGEST_PAUSE: Final = 600.0


class Sight(NamedTuple):
    """A consumer at one moment. ``subscribed``: it believes that the broker delivers. ``free``: there is a handler that
    waits for a message, and a place of the prefetch for one. ``wanted``: it is neither paused nor ending.
    """

    delivered: int
    free: bool
    subscribed: bool
    connected: bool
    wanted: bool = True


class Step(enum.StrEnum):
    """What to do next."""

    NOTHING = "nothing"
    ASK = "ask"  # the broker, how many messages are ready and how many consumers there are: see `told`
    RESUBSCRIBE = "resubscribe"
    REOPEN = "reopen"
    RECONNECT = "reconnect"
    HEALED = "healed"


_LADDER: Final = (Step.RESUBSCRIBE, Step.REOPEN, Step.RECONNECT)


@dataclass(slots=True)
class DeliveryWatch:
    """Watches one consumer; for one thread. ``stalled_after`` is the seconds of silence after which the broker is asked.

    ``others_first``: other consumers may rightly get everything (single active consumer), so that messages which wait
    are no sign of a fault.
    """

    stalled_after: float
    others_first: bool = False
    _delivered: int = field(default=-1)
    _ask_at: float = field(default=0.0)
    _doubts: int = field(default=0)
    _steps: int = field(default=0)  # taken, since it last was well
    _stepped_at: float = field(default=0.0)

    @property
    def is_healing(self) -> bool:
        """True from the first step until messages come, or the broker says that all is well."""
        return self._steps > 0

    @property
    def pause(self) -> float:
        """Seconds after which to look again: a thread that wakes up seldom disturbs nobody."""
        if self._doubts or self.is_healing:
            return _LOOK
        return max(_LOOK, min(_CALM_LOOK, self.stalled_after / _LOOKS))

    def look(self, now: float, sight: Sight) -> Step:
        """What to do now. After ASK, :meth:`told` is to be called with the answer, or :meth:`not_told`."""
        if sight.delivered != self._delivered:
            self._delivered = sight.delivered
            return self._all_is_well(now)
        if not sight.wanted:
            self._steps = 0
            return self._all_is_well(now)
        if not sight.connected:
            self._ask_at = self._stepped_at = now  # whoever connects subscribes
            return Step.NOTHING
        if not sight.subscribed:
            return self._wait_for_the_subscription(now)
        if not sight.free:
            self._quiet(now)
            return Step.NOTHING
        return Step.ASK if now >= self._ask_at else Step.NOTHING

    def told(self, now: float, *, ready: int, consumers: int) -> Step:
        """The broker's answer: messages that wait in the queue, and consumers that it knows."""
        if consumers and (not ready or self.others_first):
            return self._all_is_well(now)
        self._doubts += 1
        if self._doubts < 2:
            self._ask_at = now + _AGAIN
            return Step.NOTHING
        return self._next_step(now)

    def not_told(self, now: float) -> None:
        """The broker did not answer, or the queue is not there: others see to that."""
        self._quiet(now)

    def _wait_for_the_subscription(self, now: float) -> Step:
        if self.is_healing and now - self._stepped_at >= self._patience():
            # A channel that does not answer cannot be closed either, and the broker keeps what it delivered there.
            self._steps = max(self._steps, len(_LADDER) - 1)
            return self._next_step(now)
        if not self.is_healing:
            self._quiet(now)
        return Step.NOTHING

    def _next_step(self, now: float) -> Step:
        step = _LADDER[min(self._steps, len(_LADDER) - 1)]
        self._steps += 1
        self._stepped_at = now
        self._doubts = 0
        further = self._steps - len(_LADDER)
        self._ask_at = now + (_AGAIN if further < 0 else self._patience())
        return step

    def _patience(self) -> float:
        """A new connection disturbs others: each further one is waited for longer."""
        further = max(0, self._steps - len(_LADDER))
        patience = min(_PATIENCE, max(_AGAIN, self.stalled_after))
        return float(min(_LONGEST_PAUSE, patience * 2 ** min(further, 16)))

    def _all_is_well(self, now: float) -> Step:
        healed = self.is_healing
        self._steps = 0
        self._quiet(now)
        return Step.HEALED if healed else Step.NOTHING

    def _quiet(self, now: float) -> None:
        self._doubts = 0
        self._ask_at = now + self.stalled_after
