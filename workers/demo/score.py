"""The demo's accounts: what was sent, what was confirmed, what was handled; lost is what was confirmed and never handled."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import get_args

from rmqpool.testing.checker import Outcome, TotalQueueChecker, Verdict
from workers.demo.cast import Tail

__all__ = ["Rate", "Score"]

_WINDOW = 2.0  # seconds over which a rate is taken


class Rate:
    """Events a second over the last two seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()
        self.total = 0

    def add(self, count: int) -> None:
        """``count`` more happened."""
        self.total += count
        now = time.monotonic()
        self._points.append((now, self.total))
        while self._points[0][0] < now - _WINDOW:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        """The present rate."""
        (first_at, first), (last_at, last) = self._points[0], self._points[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0


class Score:
    """Reads the logs of the publisher and of the workers, and counts with the total-queue checker."""

    def __init__(self, outcomes: Path, handled: dict[int, Path]) -> None:
        self._checker = TotalQueueChecker()
        self._outcomes = Tail(outcomes)
        self._handled = {number: Tail(path) for number, path in handled.items()}
        self.sent = Rate()
        self.confirmed = Rate()
        self.handled = {number: Rate() for number in handled}

    def read(self) -> None:
        """Take in what was logged since the last call."""
        sent = confirmed = 0
        for line in self._outcomes:
            what, _, message_id = line.partition(" ")
            if what == "attempt":
                self._checker.record_attempt(message_id)
                sent += 1
            else:
                self._checker.record_publish(message_id, _outcome(what))
                confirmed += what == "confirmed"
        self.sent.add(sent)
        self.confirmed.add(confirmed)
        for number, tail in self._handled.items():
            count = 0
            for line in tail:
                self._checker.record_delivery(line.partition("\t")[2])
                count += 1
            self.handled[number].add(count)

    @property
    def missing(self) -> int:
        """Confirmed and not handled so far."""
        return self._checker.missing()

    def verdict(self) -> Verdict:
        """The final account."""
        return self._checker.verdict()


def _outcome(word: str) -> Outcome:
    for outcome in get_args(Outcome):
        if word == outcome:
            return outcome  # type: ignore[no-any-return]
    raise ValueError(f"the publisher logged {word!r}, which is no outcome")
