"""Which dead letters are meant: a condition, the beginning of a reason, a time, ids. Pure: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rmqpool.core.condition import Condition, parse_condition
from rmqpool.dlq.letter import CONDITION_NAMES, DeadLetter
from rmqpool.errors import DecodeError

__all__ = ["Selection", "condition"]


def condition(text: str) -> Condition:
    """A condition over :data:`rmqpool.dlq.letter.CONDITION_NAMES`. Raises ConfigurationError with the column."""
    return parse_condition(text, CONDITION_NAMES)


@dataclass(frozen=True, slots=True)
class Selection:
    """All that is given must hold; nothing given is every message.

    ``reason`` is the beginning of the reason, ``since`` the earliest time of parking (a message without such a time is not
    meant then), ``ids`` message ids, ``limit`` how many at most, from the queue's head.
    """

    where: Condition | None = None
    reason: str | None = None
    since: datetime | None = None
    ids: frozenset[str] = frozenset()
    limit: int | None = None

    def matches(self, letter: DeadLetter, now: datetime) -> bool:
        """Whether ``letter`` is meant, ``limit`` apart. A message whose headers cannot be read is meant only by "all"."""
        try:
            return self._matches(letter, now)
        except DecodeError:
            return not (self.where or self.reason or self.since or self.ids)

    def _matches(self, letter: DeadLetter, now: datetime) -> bool:
        if self.ids and letter.message_id not in self.ids:
            return False
        if self.reason is not None and not letter.reason.startswith(self.reason):
            return False
        if self.since is not None and (letter.parked_at is None or letter.parked_at < self.since):
            return False
        return self.where is None or self.where(lambda name: letter.value(name, now))
