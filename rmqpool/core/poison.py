"""Messages that kill the process that handles them: how often each did, and what is done about it. Pure.

A process that dies takes its message along: nobody can ask it what was wrong. So the deaths are counted for each message by
whoever starts the processes. The count is for one run: it is lost with the process that holds it.
"""

from __future__ import annotations

import enum
from collections import OrderedDict

__all__ = ["AfterDeath", "PoisonBook", "after_death"]


class AfterDeath(enum.StrEnum):
    """What becomes of a message whose child process died."""

    AGAIN = "again"  # in a fresh process
    FAILED = "failed"  # as an exception would: on_error and the retry policy decide
    POISONED = "poisoned"  # parked, whatever on_error says


def after_death(deaths: int, poison_after: int, *, out_of_time: bool) -> AfterDeath:
    """``deaths`` counts this one. ``out_of_time``: the process was killed because the message took too long.

    That one is not simply tried again: it would take as long, and hold up what waits behind it.
    """
    if deaths >= poison_after:
        return AfterDeath.POISONED
    return AfterDeath.FAILED if out_of_time else AfterDeath.AGAIN


class PoisonBook:
    """Counts deaths by message id, for at most ``most`` messages: the one that was not heard of for longest is forgotten.

    Not thread-safe.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._deaths: OrderedDict[str, int] = OrderedDict()

    def add(self, message_id: str) -> int:
        """One more; returns how many there are now."""
        deaths = self._deaths.pop(message_id, 0) + 1
        self._deaths[message_id] = deaths
        if len(self._deaths) > self._most:
            self._deaths.popitem(last=False)
        return deaths

    def forget(self, message_id: str) -> None:
        """It was handled, or parked."""
        self._deaths.pop(message_id, None)

    def __len__(self) -> int:
        return len(self._deaths)
