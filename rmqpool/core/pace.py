"""When a relay looks again. Pure: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Pace"]


@dataclass(slots=True)
class Pace:
    """Often while rows come, seldom after. All values are seconds.

    ``shortest`` and ``longest`` bound the wait; ``awake_for`` after the last row it stays short.
    """

    shortest: float
    longest: float
    awake_for: float
    due: float = field(default=float("-inf"))
    """When to look again. What wakes the relay before that, such as a confirm, says nothing of new rows."""
    _last_found: float = field(default=float("-inf"))
    _wait: float = field(default=0.0)

    def found(self, now: float) -> None:
        """Rows were found."""
        self._last_found = now
        self._wait = 0.0

    def is_awake(self, now: float) -> bool:
        """Rows were found only just."""
        return now - self._last_found < self.awake_for

    def hurry(self) -> None:
        """Look at the next opportunity: there may be rows."""
        self.due = float("-inf")

    def looked(self, now: float) -> None:
        """Nothing more was there: look again after a wait."""
        self.due = now + self.next_wait(now)

    def next_wait(self, now: float) -> float:
        """How long to wait now that nothing was found; grows from call to call."""
        if self.is_awake(now):
            self._wait = min(max(self.shortest, self._wait * 1.25), self.shortest * 4)
        else:
            self._wait = min(self.longest, max(self.shortest * 5, self._wait * 1.5))
        return self._wait
