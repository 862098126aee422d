"""When the next message may go, so that no more than ``rate`` a second do. Pure: the time is passed in."""

from __future__ import annotations

__all__ = ["Pacer"]

_LARGEST_BURST = 0.1  # seconds of the rate that may be made up for after a pause


class Pacer:
    """``delay(now)`` is how many seconds to wait before the next message; each call stands for one message."""

    def __init__(self, rate: float | None) -> None:
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._next = float("-inf")

    def delay(self, now: float) -> float:
        """Seconds from ``now`` (monotonic) until the message of this call is due; 0 if it may go at once."""
        if not self._interval:
            return 0.0
        due = max(self._next, now - _LARGEST_BURST) if self._next > float("-inf") else now
        self._next = due + self._interval
        return max(0.0, due - now)
