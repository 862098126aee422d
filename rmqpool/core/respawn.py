"""What follows when a worker process of a supervisor has ended, and how long to wait before the next one. Pure.

A process that ends soon after its start is started again after a pause, which grows with each one that does so in a row: a
crash loop costs little. One that lived long is replaced at once, and the next pause is a first one again. A supervisor never
gives up, except at the start: what a worker refuses before any process was ready (a wrong password, a module that is not
there) no new process would mend.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from rmqpool.core.backoff import Backoff

__all__ = ["AfterEnd", "Respawn", "after_end"]

_BACKOFF = Backoff(1.0, 60.0)
_SETTLED_AFTER = 60.0  # seconds


class AfterEnd(enum.Enum):
    """What a supervisor does when one of its processes has ended."""

    AGAIN = "again"  # starts another one
    OVER = "over"  # leaves its place empty: a burst is over
    END_ALL = "end all"  # ends too, with the same code
    AWAIT_CHANGE = "await change"  # leaves its place empty until a file has changed


def after_end(code: int, *, refused: bool, was_ready: bool, burst: bool, reloads: bool) -> AfterEnd:
    """``code`` as of subprocess: below 0 it is a signal's number. ``refused``: it is one of those with which a worker refuses to
    start; ``was_ready``: some process of this supervisor was ready before; ``burst``: processes end by themselves;
    ``reloads``: whoever develops sees the error and changes a file.

    A process that ends with 0 though nobody told it is replaced: it was stopped from outside, or stopped itself, and
    the supervisor keeps the number that it was asked for.
    """
    if reloads and refused:
        return AfterEnd.AWAIT_CHANGE
    if burst and code >= 0:
        return AfterEnd.OVER
    if refused and not was_ready:
        return AfterEnd.END_ALL
    return AfterEnd.AGAIN


@dataclass(slots=True)
class Respawn:
    """The pauses of one place. ``settled_after``: seconds of life after which an end is no crash at the start."""

    backoff: Backoff = _BACKOFF
    settled_after: float = _SETTLED_AFTER
    early_ends: int = 0

    def pause(self, lived: float, random: float) -> float:
        """Seconds from the end of a process that ``lived`` so many to the start of the next one.

        ``random`` is an even draw from [0, 1). Half of each pause is fixed: full jitter would allow a loop without any.
        """
        if lived >= self.settled_after:
            self.early_ends = 0
            return 0.0
        self.early_ends += 1
        return self.backoff.ceiling(self.early_ends) / 2 + self.backoff.delay(self.early_ends, random) / 2
