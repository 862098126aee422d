"""The books of a run: how many messages had each outcome, and the first failures by line. Bounded memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rmqpool.errors import PublishError
from rmqpool.message import Confirmation, Outcome

__all__ = ["FailedMessage", "Tally"]

_KEPT = 1000  # failures that are remembered one by one


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """A message that was not confirmed."""

    line: int
    outcome: str
    message_id: str
    error: str


@dataclass(slots=True)
class Tally:
    """Counts outcomes. ``withdrawn`` were taken back before anything was written, after Ctrl-C; ``sent_behind`` of those
    behind the first of them were not.
    """

    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    withdrawn: int = 0
    failures: list[FailedMessage] = field(default_factory=list)
    last_line: int = 0
    first_withdrawn: int = 0
    sent_behind: int = 0
    resent: int = 0

    def add(self, line: int, outcome: Confirmation | PublishError) -> None:
        """Enter one outcome."""
        self.counts[Outcome(outcome.outcome)] += 1
        self.resent += outcome.attempts > 1
        self.sent_behind += bool(self.first_withdrawn)
        if isinstance(outcome, PublishError) and len(self.failures) < _KEPT:
            self.failures.append(FailedMessage(line, outcome.outcome, outcome.message_id, str(outcome)))

    def withdraw(self, line: int) -> None:
        """Enter a message that was taken back unwritten."""
        self.withdrawn += 1
        self.first_withdrawn = min(self.first_withdrawn or line, line)

    @property
    def total(self) -> int:
        """Messages that have an outcome."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Messages that were not confirmed."""
        return self.total - self.counts[Outcome.CONFIRMED]

    @property
    def broker_is_away(self) -> bool:
        """A message got no verdict from the broker by its deadline: more of them would fare no better."""
        return bool(self.counts[Outcome.NOT_SENT] or self.counts[Outcome.UNKNOWN])

    def as_json(self, seconds: float) -> dict[str, Any]:
        """For machines: all five outcomes, the failures, and where to go on."""
        return {
            "ok": not self.failed and not self.withdrawn,
            "outcomes": {str(outcome): count for outcome, count in self.counts.items()},
            "withdrawn": self.withdrawn,
            "written_again": self.resent,
            "seconds": round(seconds, 3),
            "last_line": self.last_line,
            "first_withdrawn": self.first_withdrawn or None,
            "failures": [asdict(failure) for failure in self.failures],
            "failures_left_out": self.failed - len(self.failures),
        }

    def summary(self, seconds: float) -> str:
        """One line: all five outcomes, time and rate."""
        told = ", ".join(f"{count} {str(outcome).replace('_', ' ')}" for outcome, count in self.counts.items())
        more = f", {self.withdrawn} withdrawn" if self.withdrawn else ""
        again = f" ({self.resent} written again after a lost connection)" if self.resent else ""
        rate = f", {self.total / seconds:,.0f}/s" if seconds > 0.05 and self.total > 1 else ""
        return f"{told}{more}{again} in {seconds:.1f} s{rate}"
