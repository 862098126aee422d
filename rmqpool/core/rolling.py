"""A rolling reload: one place after the other gets a new process, and the old one is stopped once the new one is ready. Pure.

There are never fewer processes than before, and never more than one besides. If a new one does not get ready the reload is
given up: the old one, and those of the places that were not reached, stay as they are.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable

__all__ = ["Fresh", "RollingReload", "Step"]


class Fresh(enum.Enum):
    """How the new process of the place in turn is."""

    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"


class Step(enum.Enum):
    """What to do now, with the place in turn."""

    START = "start"  # start a new process
    WAIT = "wait"
    STOP_OLD = "stop old"  # the new one takes the place; stop the old one in good order
    GIVE_UP = "give up"  # stop the new one; the reload is over
    DONE = "done"


class RollingReload:
    """``places`` in turn; ``patience``: the seconds that a new process may take to get ready. For one thread."""

    def __init__(self, places: Iterable[int], patience: float) -> None:
        self._left = deque(places)
        self._patience = patience
        self._deadline: float | None = None
        self._stopping_old = False
        self.renewed = 0

    @property
    def place(self) -> int | None:
        """The place in turn, which a step may have changed; None when all are new."""
        return self._left[0] if self._left else None

    def step(self, fresh: Fresh | None, *, old_runs: bool, now: float) -> Step:
        """The next step. ``fresh``: the new process, if there is one; ``old_runs``: the one that was told to stop does."""
        if self._stopping_old and not old_runs:
            self._stopping_old = False
            self._deadline = None
            self._left.popleft()
            self.renewed += 1
            fresh = None
        if not self._left:
            return Step.DONE
        if self._stopping_old:
            return Step.WAIT
        if self._deadline is None:
            self._deadline = now + self._patience
            return Step.START
        if fresh is Fresh.READY:
            self._stopping_old = True
            return Step.STOP_OLD
        if fresh is not Fresh.STARTING or now >= self._deadline:
            return Step.GIVE_UP
        return Step.WAIT
