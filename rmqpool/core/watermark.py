"""The watermark of strict order: an id below which no transaction can still add a row. Pure.

The identity's last value S is read, and then who holds ROW EXCLUSIVE on the table. Every transaction that was given an
id up to S holds that lock by then, because an INSERT takes it before it asks for the id. When all of them have ended,
every row up to S is visible, or never will be. A long transaction that does not write to the table holds nothing up.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["Watermark"]


class Watermark:
    """``upper`` is the mark, valid when :attr:`is_clear`."""

    def __init__(self) -> None:
        self.upper = 0
        self._writers: frozenset[str] | None = None

    @property
    def needs_mark(self) -> bool:
        """The last mark was used up: a new one is to be set."""
        return self._writers is None

    @property
    def is_clear(self) -> bool:
        """Everything up to ``upper`` is settled."""
        return self._writers is not None and not self._writers

    def mark(self, last_value: int, writers: Collection[str]) -> None:
        """Set a mark: the sequence's last value, and who wrote to the table when it had been read."""
        self.upper, self._writers = last_value, frozenset(writers)

    def still_there(self, writers: Collection[str]) -> None:
        """Who writes to the table now: those of the mark that are not among them have ended."""
        if self._writers:
            self._writers = self._writers.intersection(writers)

    def used_up(self) -> None:
        """Everything up to the mark was read."""
        self._writers = None
