"""How many publishes of one confirm channel have no answer yet. Pure: it counts, and knows no message."""

from __future__ import annotations

__all__ = ["AnswerCount"]


class AnswerCount:
    """Counts publishes, and the tags that were answered (AMQP's delivery tags, which begin at 1)."""

    __slots__ = ("_above", "_all_up_to", "_published")

    def __init__(self) -> None:
        self._published = 0
        self._all_up_to = 0
        self._above: set[int] = set()  # answered alone, above that

    def publish(self, count: int = 1) -> None:
        """So many more were forwarded."""
        self._published += count

    def answer(self, tag: int, multiple: bool) -> None:
        """basic.ack or basic.nack; tag 0 with ``multiple`` means all so far."""
        if multiple:
            self._all_up_to = max(self._all_up_to, tag or self._published)
            if self._above:
                self._above = {one for one in self._above if one > self._all_up_to}
        elif tag == self._all_up_to + 1:
            self._all_up_to = tag
        elif tag > self._all_up_to:
            self._above.add(tag)
        while self._above and self._all_up_to + 1 in self._above:
            self._all_up_to += 1
            self._above.discard(self._all_up_to)

    @property
    def missing(self) -> int:
        """Publishes without an answer."""
        return max(0, self._published - self._all_up_to - len(self._above))
