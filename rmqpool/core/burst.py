"""Whether a channel may be closed right after what was settled on it. Pure: time is passed in.

RabbitMQ sends each basic.ack of a quorum queue as a command of its own. While more than 32 are not applied it keeps the others
to itself (rabbit_fifo_client, soft limit), and forgets them when the channel is closed: messages that were acknowledged come
again. It sends them all as soon as some are applied, which takes as long as one command takes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Burst"]

_SOFT_LIMIT: Final = 32  # commands
_LEAST: Final = 0.25  # seconds: a slow disk
_MOST: Final = 3.0
_FACTOR: Final = 3.0
_OF_LATE: Final = 5.0  # seconds in which a broker applies commands, unless it is in trouble


class Burst:
    """The times of the last methods that settled something. For one owner."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_SOFT_LIMIT)

    def wrote(self, count: int, now: float) -> None:
        """So many methods were written."""
        self._times.extend([now] * min(count, _SOFT_LIMIT))

    def patience(self, now: float, answered_in: float) -> float:
        """Seconds from ``now`` after which the broker has sent all on; 0 if it has not kept any. ``answered_in``: the seconds
        that it took for a command (basic.cancel is one).
        """
        times = self._times
        if len(times) < _SOFT_LIMIT or now - times[0] > _OF_LATE:
            return 0.0
        return max(0.0, times[-1] + min(_MOST, max(_LEAST, _FACTOR * answered_in)) - now)
