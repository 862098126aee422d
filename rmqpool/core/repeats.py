"""What is said once and counted after: the first of each subject in a while, and then how many more there were. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Repeats"]

Subject = TypeVar("Subject", bound=Hashable)


@dataclass(slots=True)
class _Run:
    ends_at: float
    more: int = 0


class Repeats(Generic[Subject]):
    """``every`` is seconds. At most ``subjects`` are told apart at a time: what comes above is counted as None.

    Law: each call of :meth:`is_first` is either said (True) or counted in exactly one answer of :meth:`over`.
    """

    def __init__(self, every: float, subjects: int) -> None:
        self._every = every
        self._subjects = subjects
        self._runs: dict[Subject | None, _Run] = {}

    def __len__(self) -> int:
        """Subjects of which something was said not long ago."""
        return len(self._runs)

    def is_first(self, subject: Subject, now: float) -> bool:
        """Whether to say it: nothing was said of it for as long as ``every``. Otherwise it is counted."""
        known: Subject | None = subject
        if subject not in self._runs and len(self._runs) >= self._subjects:
            known = None
        run = self._runs.get(known)
        if run is None:
            self._runs[known] = _Run(now + self._every, more=0 if known is not None else 1)
            return known is not None
        run.more += 1
        return False

    def over(self, now: float) -> list[tuple[Subject | None, int]]:
        """Subjects whose time has passed, and how many were counted since the first; the next one is a first again.

        Those of which no more came are left out. None stands for all that were too many to be told apart.
        """
        over = [(subject, run.more) for subject, run in self._runs.items() if run.ends_at <= now]
        for subject, _ in over:
            del self._runs[subject]
        return [(subject, more) for subject, more in over if more]
